"""Parsing of producers' JSON, with one limit for the worker's decoder and the reader. Pure.

Python's own parser accepts more than JSON (NaN, UTF-16), fails at the end of its caller's stack,
and parses some numbers into values that `json.dumps` cannot write. The result of this module
depends on the text alone, so a reader in any process can return what the worker has accepted.
"""

import json
import math
import re
from typing import Any, NoReturn, TypeVar

#: Levels of arrays and objects. Far below Python's recursion limit (1,000 frames, shared with the
#: caller's stack), and above the limits of other parsers (64 by default in .NET).
NESTING_MAX = 128
#: Digits of the largest integer that a double holds, 1.8e308. Longer ones are beyond it.
_INT_DIGITS_MAX = 309

#: A string, also an unterminated one, or a bracket. It matches at every quote, so a scan is linear.
_TOKENS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
#: JSON's escape of half of a character above U+FFFF.
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

T = TypeVar("T")


class NumberText(str):
    """A number beyond the range of a double, as it was written."""

    __slots__ = ()


class _RepeatedNames(dict[str, Any]):
    """An object that repeats a name. It holds the last value of each name."""


def parse_exact(body: bytes) -> Any:
    """Return the value of a JSON text that a Python value can carry entirely.

    Raises ValueError for invalid JSON in UTF-8 (RFC 8259), for nesting deeper than NESTING_MAX, and
    for values that would change: a number beyond the range of a double, a repeated name, half of a
    surrogate pair. Digits beyond a double's precision are rounded, as JSON parsers do.
    """
    text = _text(body)
    value = json.loads(
        text,
        parse_constant=_refuse,
        parse_float=_exact_float,
        parse_int=_exact_int,
        object_pairs_hook=_exact_object,
    )
    if _SURROGATE_ESCAPE.search(text) and has_surrogate(value):
        raise ValueError("half of a surrogate pair")
    return value


def parse_event(body: bytes) -> dict[str, Any]:
    """Return the object of a JSON text. A number beyond the range of a double is a NumberText. The
    last value of a repeated name counts.

    Raises ValueError for anything but a JSON object in UTF-8, for nesting deeper than NESTING_MAX,
    and for a repeated name at its top.
    """
    event = json.loads(
        _text(body),
        parse_constant=_refuse,
        parse_float=_float_or_text,
        parse_int=_int_or_text,
        object_pairs_hook=_object,
    )
    match event:
        case _RepeatedNames():
            raise ValueError("a name is given twice")
        case dict():
            return event
    raise ValueError("not a JSON object")


def _text(body: bytes) -> str:
    """Decode the text. Raises ValueError if it is not UTF-8, or nested too deep."""
    text = body.decode()
    if text.count("[") + text.count("{") > NESTING_MAX:
        depth = 0
        for token in _TOKENS.finditer(text):
            character = text[token.start()]
            if character in "[{":
                depth += 1
                if depth > NESTING_MAX:
                    raise ValueError(f"nested deeper than {NESTING_MAX}")
            elif character in "]}":
                depth -= 1
    return text


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _float_or_text(text: str) -> float | NumberText:
    number = float(text)
    return number if math.isfinite(number) else NumberText(text)


def _int_or_text(text: str) -> int | NumberText:
    if len(text) >= _INT_DIGITS_MAX and not math.isfinite(float(text)):
        return NumberText(text)
    return int(text)


def _exact_float(text: str) -> float:
    return _exact(_float_or_text(text))


def _exact_int(text: str) -> int:
    return _exact(_int_or_text(text))


def _exact(number: T | NumberText) -> T:
    if isinstance(number, NumberText):
        raise ValueError("a number beyond the range of a double")  # noqa: TRY004 - of the text
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else _RepeatedNames(pairs)


def _exact_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object repeats a name")
    return made


def has_surrogate(value: Any) -> bool:
    """Return whether a JSON value holds half of a surrogate pair, which JSON can spell, but UTF-8
    and the store cannot hold."""
    if isinstance(value, str):
        return not value.isascii() and _SURROGATE.search(value) is not None
    if isinstance(value, dict):
        return any(has_surrogate(name) or has_surrogate(each) for name, each in value.items())
    return isinstance(value, list) and any(map(has_surrogate, value))


def without_surrogates(value: Any) -> Any:
    """Replace every half of a surrogate pair in a JSON value by U+FFFD."""
    if isinstance(value, str):
        return _SURROGATE.sub(_REPLACEMENT, value) if has_surrogate(value) else value
    if isinstance(value, dict):
        return {without_surrogates(name): without_surrogates(each) for name, each in value.items()}
    return [without_surrogates(each) for each in value] if isinstance(value, list) else value
