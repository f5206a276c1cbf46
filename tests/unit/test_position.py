"""Keys and positions: one encoder, one parser, and an order that is the log's."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poste_restante.position import (
    CURSOR_KEY,
    CURSORS_END,
    EPOCH_MAX,
    OFFSET_MAX,
    PARTITION_MAX,
    TABLE_RECORD_KEY,
    USER_ID_BYTES_MAX,
    WINDOW_SIZE,
    BundleKey,
    LogId,
    Position,
    cursor_key,
    device_of,
    mailbox_key,
    progress_key,
    utf8_bytes,
    window_end,
    window_start,
)

LOGS = st.builds(LogId, st.integers(0, EPOCH_MAX), st.integers(0, PARTITION_MAX))
W = WINDOW_SIZE
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


def test_the_keys_are_what_is_documented() -> None:
    """Readers in other languages rely on them (G2, G10)."""
    assert BundleKey(1, 3, 42, 40).encode() == "0001.00003.0000000000000000042.0000000000000000040"
    assert LogId(1, 3).after(42) == "0001.00003.0000000000000000042.~"
    assert LogId(1, 3).head == "0001.00003."
    assert cursor_key(None) < cursor_key("phone") == "!phone" < CURSORS_END < "0"
    assert (EPOCH_MAX, PARTITION_MAX, OFFSET_MAX) == (9_999, 99_999, 9_223_372_036_854_775_807)


LARGEST = BundleKey(EPOCH_MAX, PARTITION_MAX, OFFSET_MAX, OFFSET_MAX)
SMALLEST = BundleKey(0, 0, 0, 0)


@pytest.mark.parametrize(
    "key", [LARGEST, SMALLEST, BundleKey(1, 3, W - 1, 0), BundleKey(1, 3, W, W)]
)
def test_a_key_at_its_limits_is_possible(key: BundleKey) -> None:
    """Every log, and every offset that Kafka gives (G2)."""
    assert key.is_possible()
    assert BundleKey.decode(key.encode()) == key


@pytest.mark.parametrize(
    "key",
    [
        LARGEST._replace(epoch=EPOCH_MAX + 1), LARGEST._replace(partition=PARTITION_MAX + 1),
        LARGEST._replace(last=OFFSET_MAX + 1, first=OFFSET_MAX + 1),
        SMALLEST._replace(epoch=-1), SMALLEST._replace(partition=-1), BundleKey(1, 3, -1, -1),
        BundleKey(1, 3, 4, 5), BundleKey(1, 3, W, W - 1),
    ],
)  # fmt: skip
def test_a_key_beyond_its_limits_is_not_possible(key: BundleKey) -> None:
    """It would not sort as its numbers do (G2, G3)."""
    assert not key.is_possible()


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
@example(0)
@example(W - 1)
@example(W)
@example(W + 1)
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


@pytest.mark.parametrize(("text", "size"), [("", 0), ("ab", 2), ("é", 2), ("\N{EURO SIGN}a", 4)])
def test_the_size_of_a_text_is_that_of_its_utf_8(text: str, size: int) -> None:
    """As DynamoDB counts it (G8)."""
    assert utf8_bytes(text) == size


@pytest.mark.parametrize("name", ["p", "Phone-1.2_3:4", "x" * 64])
def test_a_device_has_a_cursor_of_its_name(name: str) -> None:
    """And the name is found again in the sort key (G12)."""
    assert cursor_key(name) == f"!{name}"
    assert device_of(f"!{name}") == name


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "é", "~", "phone\n"])
def test_what_is_no_name_of_a_device_has_no_cursor(name: str) -> None:
    """It would not sort below every bundle, or not fit (G12)."""
    with pytest.raises(ValueError, match="1 to 64 characters"):
        cursor_key(name)
    assert device_of(f"!{name}") is None


def test_a_device_is_named_by_a_text() -> None:
    """Not by a number that looks like one (G12)."""
    with pytest.raises(ValueError, match="not 7"):
        cursor_key(7)  # type: ignore[arg-type]


def test_only_a_cursor_of_a_device_names_one() -> None:
    """Neither the account's nor a bundle's key does (G12)."""
    assert device_of("!") is None
    assert device_of("phone") is None
