"""Keys and positions: one encoder, one parser, and an order that is the log's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.position import (
    CURSOR_KEY,
    EPOCH_MAX,
    OFFSET_MAX,
    PARTITION_MAX,
    TABLE_RECORD_KEY,
    USER_ID_BYTES_MAX,
    WINDOW_SIZE,
    BundleKey,
    LogId,
    Position,
    mailbox_key,
    progress_key,
    window_end,
    window_start,
)

LOGS = st.builds(LogId, st.integers(0, EPOCH_MAX), st.integers(0, PARTITION_MAX))
OFFSETS = st.integers(0, OFFSET_MAX) | st.integers(0, 3 * WINDOW_SIZE)


@st.composite
def bundle_keys(draw: st.DrawFn) -> BundleKey:
    last = draw(OFFSETS)
    return BundleKey(*draw(LOGS), last=last, first=draw(st.integers(window_start(last), last)))


@given(bundle_keys())
def test_a_bundle_key_survives_its_encoding(key: BundleKey) -> None:
    """What a worker writes, every reader reads (G2)."""
    assert BundleKey.decode(key.encode()) == key
    assert LogId.decode(key.log.encode()) == key.log


@given(bundle_keys(), bundle_keys())
def test_encoded_keys_sort_as_the_numbers_do(one: BundleKey, two: BundleKey) -> None:
    """By epoch, partition, last, first, as DynamoDB compares: by bytes (G3)."""
    assert (one < two) == (one.encode().encode() < two.encode().encode())
    assert one.encode() > CURSOR_KEY


@given(bundle_keys(), OFFSETS)
def test_a_reading_goes_on_above_every_bundle_that_ends_at_or_below(
    key: BundleKey, offset: int
) -> None:
    """And below every one with a later message (G2, G3)."""
    assert (key.log.after(offset) < key.encode()) == (key.last > offset)


@given(LOGS, LOGS, OFFSETS, bundle_keys())
def test_going_on_keeps_to_the_log(log: LogId, other: LogId, offset: int, key: BundleKey) -> None:
    """Bundles of later logs are still to come, those of earlier ones are not (G3)."""
    key = key._replace(epoch=other.epoch, partition=other.partition)
    if other != log:
        assert (log.after(offset) < key.encode()) == (other > log)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!",
        "!phone",
        "0001.00003.0000000000000000042",
        "0001.00003.0000000000000000042.0000000000000000040.",
        "0001.00003.0000000000000000042.0000000000000000040\n",
        "0001.00003.0000000000000000042.000000000000000004",
        "001.00003.0000000000000000042.0000000000000000040",
        "0001-00003.0000000000000000042.0000000000000000040",
        "\u0660\u0660\u0660\u0661.00003.0000000000000000042.0000000000000000040",
        "0001.00003.0000000000000000040.0000000000000000042",  # ends before it begins
        "0001.00003.0000000000000010000.0000000000000009999",  # crosses a window border
        "0001.00003.9999999999999999999.9999999999999999999",  # no 64-bit number
        "0001.00003.-000000000000000042.0000000000000000040",
    ],
)
def test_what_no_writer_makes_is_no_bundle_key(text: str) -> None:
    """A reader stops at it rather than guess (G2)."""
    with pytest.raises(ValueError, match="bundle key"):
        BundleKey.decode(text)


@given(st.text())
def test_arbitrary_text_is_a_key_or_a_value_error(text: str) -> None:
    """And only what encodes to the same text is one (G9)."""
    for kind in (BundleKey, LogId):
        try:
            key = kind.decode(text)
        except ValueError:
            continue
        assert key.encode() == text


def test_positions_compare_in_reading_order() -> None:
    """Epoch before partition before offset (G3, G4)."""
    assert Position(1, 9, 9) < Position(2, 0, 0) < Position(2, 0, 1) < Position(2, 1, 0)
    assert Position(2, 3, 44).id("topic") == "topic/2/3/44"
    assert Position(2, 3, 44).log == LogId(2, 3)


@given(OFFSETS)
def test_windows_tile_the_log(offset: int) -> None:
    """Each offset is in one, and borders are their own start and end (G2)."""
    start = window_start(offset)

    assert start <= offset < start + WINDOW_SIZE
    assert start % WINDOW_SIZE == 0
    assert window_start(start) == window_end(start) == start
    assert window_end(offset) == (start if offset == start else start + WINDOW_SIZE)


def test_the_window_is_part_of_the_stored_format() -> None:
    """Workers of different versions agree on the borders that no bundle crosses (G2)."""
    assert WINDOW_SIZE == 10_000


USERS = st.text(min_size=1, max_size=USER_ID_BYTES_MAX // 4) | st.sampled_from(
    ["!", "!!", "!table", "!!table", "!progress/undelivered-messages/3", "table"]
)


@given(USERS, USERS)
def test_every_user_has_a_mailbox_of_their_own(one: str, two: str) -> None:
    """Whatever their ids are, and none has the system's keys (G5, G6)."""
    assert (mailbox_key(one) == mailbox_key(two)) == (one == two)
    assert mailbox_key(one) not in {TABLE_RECORD_KEY, progress_key("undelivered-messages", 3)}
    assert not mailbox_key(one).startswith("!") or mailbox_key(one).startswith("!!")


@pytest.mark.parametrize(
    ("user_id", "why"),
    [
        ("", "empty"),
        ("x" * 1025, "1025 bytes; at most 1024"),
        ("é" * 513, "1026 bytes"),
        ("\ud800", "surrogates"),
    ],
)
def test_some_ids_have_no_mailbox(user_id: str, why: str) -> None:
    """The error says why (G9)."""
    with pytest.raises(ValueError, match=why):
        mailbox_key(user_id)


def test_the_longest_id_has_a_mailbox() -> None:
    """With the escape it is still a partition key (G9)."""
    assert mailbox_key("!" + "x" * 1023) == "!!" + "x" * 1023
