"""Checks of the arguments that callers pass, before anything is called or stored. Pure.

Each function returns the value in the form that is used from there on. It raises TypeError for
another type and ValueError for an unusable value. Both name the argument and say what to give.
"""

import inspect
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from poste_restante.message import Header
from poste_restante.metrics import METHODS, Metrics
from poste_restante.position import cursor_key, mailbox_key, utf8_bytes


def mailbox(user_id: Any) -> str:
    """Return the mailbox key of a user id of 1 to 1,024 bytes of UTF-8."""
    return mailbox_key(_text("user_id", user_id))


def device(name: str, value: Any) -> str:
    """Return the sort key of a device's cursor."""
    return cursor_key(_text(name, value))


def optional_device(name: str, value: Any) -> str:
    """Return the sort key of a device's cursor; for None, of the account's."""
    return cursor_key(None) if value is None else device(name, value)


def one_of(name: str, value: Any, values: Sequence[str]) -> str:
    """Return one of the given texts."""
    if _text(name, value) not in values:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, values))}, not {value!r}")
    return str(value)


def text(name: str, value: Any) -> str:
    """Return a text that is not empty and that UTF-8 can encode."""
    if not _text(name, value):
        raise ValueError(f"{name} must not be empty")
    utf8_bytes(value)
    return str(value)


def optional_text(name: str, value: Any) -> str | None:
    """Return a text, as `text` does, or None."""
    return None if value is None else text(name, value)


def number(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return an int within bounds."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _type_error(name, value, "an int")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, not {value}")
    return value


def optional_number(name: str, value: Any, least: int) -> int | None:
    """Return an int, as `number` does, or None."""
    return None if value is None else number(name, value, least)


def seconds(name: str, value: Any) -> float:
    """Return a duration above 0."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _type_error(name, value, "a number of seconds")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be above 0, not {value}")
    return value


def seconds_or_0(name: str, value: Any) -> float:
    """Return a duration, or 0."""
    return 0.0 if value == 0 and not isinstance(value, bool) else seconds(name, value)


def binary(name: str, value: Any) -> bytes:
    """Return the bytes of a bytes-like value."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _type_error(name, value, "bytes")
    return bytes(value)


def aware(name: str, value: Any) -> datetime:
    """Return an aware datetime."""
    if not isinstance(value, datetime):
        raise _type_error(name, value, "a datetime")
    if value.utcoffset() is None:
        raise ValueError(f"{name} must have a time zone, such as datetime.UTC")
    return value


def optional_aware(name: str, value: Any) -> datetime | None:
    """Return an aware datetime, or None."""
    return None if value is None else aware(name, value)


def headers(name: str, value: Any) -> tuple[Header, ...]:
    """Return pairs of a text, and bytes or None."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise _type_error(name, value, "pairs of a name and bytes")
    checked: list[Header] = []
    for pair in value:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise _type_error(f"an element of {name}", pair, "a pair of a name and bytes")
        header, content = pair
        _text(f"a name of {name}", header)
        utf8_bytes(header)
        of = f"the value of {header!r} in {name}"
        checked.append((header, None if content is None else binary(of, content)))
    return tuple(checked)


def keys(name: str, value: Any) -> list[bytes]:
    """Return receipt keys: texts or bytes that are not empty."""
    if isinstance(value, str | bytes):  # also a sequence, of keys of one character
        raise TypeError(f"{name} must be a list of keys, not one key")
    if not isinstance(value, Iterable):
        raise _type_error(name, value, "a list of keys")
    checked = [
        binary(f"a key of {name}", key.encode() if isinstance(key, str) else key) for key in value
    ]
    if not all(checked):
        raise ValueError(f"a key of {name} must not be empty")
    return checked


def metrics(name: str, value: Any) -> Metrics:
    """Return an object that has every method of `Metrics`."""
    if isinstance(value, type):
        raise TypeError(f"{name} must be an object, not the class {value.__name__}: make one")
    for method in METHODS:
        found = getattr(value, method, None)
        if not callable(found):
            raise TypeError(
                f"{name} must have a method {method!r}, which {type(value).__name__} lacks: derive"
                " from poste_restante.metrics.NoMetrics"
            )
        if inspect.iscoroutinefunction(found):
            raise TypeError(f"the method {method!r} of {name} must not be async: nobody awaits it")
    checked: Metrics = value
    return checked


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _type_error(name, value, "a str")
    return value


def _type_error(name: str, value: Any, wanted: str) -> TypeError:
    found = "None" if value is None else type(value).__name__
    advice = ""
    if wanted == "a str" and isinstance(value, bytes):
        advice = ": decode it first"
    if wanted == "bytes" and isinstance(value, str):
        advice = ": encode it first"
    return TypeError(f"{name} must be {wanted}, not {found}{advice}")
