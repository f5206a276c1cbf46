"""The one JSON parser of worker and reader: what it takes, and that it says no in time."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.strict_json import NESTING_MAX, parse_event, parse_exact

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


@given(VALUES)
def test_what_json_dumps_writes_is_parsed_to_the_same(value: object) -> None:
    """Both ways of writing text (G1)."""
    for ascii_only in (True, False):
        assert parse_exact(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.dictionaries(st.text(), VALUES))
def test_an_event_is_parsed_to_the_same(event: dict[str, object]) -> None:
    """Where Python can carry all of it (G1)."""
    assert parse_event(json.dumps(event).encode()) == event


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"[":', b"}]")]
)
@pytest.mark.parametrize("depth", [NESTING_MAX, NESTING_MAX + 2])
def test_depth_is_limited_by_number(opening: bytes, closing: bytes, depth: int) -> None:
    """Whatever is nested; brackets within texts do not count (G8)."""
    levels = depth // len(closing)
    body = opening * levels + rb'"[[{\"[["' + closing * levels
    if depth <= NESTING_MAX:
        assert json.dumps(parse_exact(body)).encode().replace(b" ", b"") == body
    else:
        with pytest.raises(ValueError, match="nested deeper"):
            parse_exact(body)


def test_brackets_that_are_not_nested_do_not_count() -> None:
    """A long list of lists is not deep (G9)."""
    body = b"[" + b",".join([b"[]"] * 10_000) + b"]"

    assert parse_exact(body) == [[]] * 10_000


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200 + rb"\"" * 200_000,
        b"[" * 200 + b'"' + rb"\"" * 200_000 + b"\\",
        b"[" * 200 + b'"' * 399_999,
        b"[]" * 200_000,
        b"[" + b"9" * 400_000 + b"]",
        b"[0." + b"9" * 400_000 + b"]",
        b'{"a":1' + b',"a":1' * 60_000 + b"}",
    ],
    ids=["escapes", "a text without an end", "quotes", "pairs", "digits", "decimals", "one name"],
)
def test_a_body_made_to_be_slow_is_not(body: bytes) -> None:
    """The work is linear: 400 KB, the largest message, would run into the test's time-out (G8)."""
    for parse in (parse_exact, parse_event):
        with suppress(ValueError):
            parse(body)
