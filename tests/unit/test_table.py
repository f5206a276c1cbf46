"""The two items that both sides know: the table record and the cursor."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.item import FORMAT_VERSION, Item
from poste_restante.position import CURSOR_KEY, WINDOW_SIZE, LogId
from poste_restante.table import TableRecord, decode_cursor

RECORD = TableRecord(table_id="4f2a", topic="undelivered-messages", partitions=12, epoch=2)


@given(st.text(), st.text(), st.integers(1, 10**5), st.integers(1, 9999))
def test_the_table_record_survives_its_encoding(
    table_id: str, topic: str, partitions: int, epoch: int
) -> None:
    """What `poste init` writes, workers and readers read (G6)."""
    record = TableRecord(table_id=table_id, topic=topic, partitions=partitions, epoch=epoch)

    assert TableRecord.decode(record.encode()) == record


def test_the_table_record_says_the_format() -> None:
    """Version and window size are part of it (G2)."""
    item = RECORD.encode()

    assert item["user_id"] == {"S": "!table"}
    assert item["position"] == {"S": CURSOR_KEY}
    assert item["v"] == {"N": str(FORMAT_VERSION)}
    assert item["window_size"] == {"N": str(WINDOW_SIZE)}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"v": {"N": "2"}}, "format version 2, not 1"),
        ({"window_size": {"N": "5000"}}, "windows of 5000 offsets, not 10000"),
        ({"v": {"S": "1"}}, "damaged"),
        ({"table_id": {"N": "1"}}, "damaged"),
        ({"epoch": {"N": "one"}}, "one"),
    ],
)
def test_a_table_of_another_format_is_refused(change: dict[str, Any], why: str) -> None:
    """Borders that readers do not share would lose messages (G2)."""
    with pytest.raises(ValueError, match=why):
        TableRecord.decode(RECORD.encode() | change)


@pytest.mark.parametrize("name", ["v", "window_size", "table_id", "topic", "partitions", "epoch"])
def test_a_table_record_without_a_part_is_refused(name: str) -> None:
    """The error says what is missing (G6)."""
    item = RECORD.encode()
    del item[name]
    with pytest.raises(ValueError, match=name):
        TableRecord.decode(item)


def test_a_cursor_is_one_offset_per_log() -> None:
    """Attributes of other names are ignored: a later version may add some (G4)."""
    item: Item = {
        "user_id": {"S": "bob"},
        "position": {"S": CURSOR_KEY},
        "0001.00003": {"N": "42"},
        "0002.00003": {"N": "0"},
        "note": {"S": "new"},
        "0001.3": {"S": "?"},
    }

    assert decode_cursor(item) == {LogId(1, 3): 42, LogId(2, 3): 0}


@pytest.mark.parametrize("value", [{"S": "42"}, {"N": "much"}, {"NULL": True}, None])
def test_a_damaged_cursor_is_not_an_empty_one(value: Any) -> None:
    """Taken for none, it would bring back what was acknowledged (G4)."""
    with pytest.raises(ValueError, match=r"0001\.00003|much"):
        decode_cursor({"position": {"S": CURSOR_KEY}, "0001.00003": value})
