"""Fingerprints: what tells a log from another one that took its place."""

import dataclasses

import pytest
from aiokafka import ConsumerRecord

from tests.records import NEW_YEAR_MS, MadeRecord
from worker.record import Fingerprint, Record, fingerprint, record_bytes

BASE = MadeRecord(key=b"bob", value=b"hello", headers=(("a", b"1"), ("b", None)))


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(BASE, timestamp=NEW_YEAR_MS + 1),
        dataclasses.replace(BASE, key=b"bobh", value=b"ello"),
        dataclasses.replace(BASE, key=None),
        dataclasses.replace(BASE, value=None),
        dataclasses.replace(BASE, headers=(("a", b"1"), ("b", b""))),
        dataclasses.replace(BASE, headers=(("b", None), ("a", b"1"))),
        dataclasses.replace(BASE, headers=(("a1", b""), ("b", None))),
    ],
)
def test_another_record_has_another_fingerprint(other: MadeRecord) -> None:
    """Timestamp, key, value, headers, their borders and their nulls all count (G1)."""
    assert fingerprint(other) != fingerprint(BASE)


def test_the_fingerprint_does_not_depend_on_where_the_record_stands() -> None:
    """A mirrored log of the same records is the same log, by content (G1)."""
    assert fingerprint(dataclasses.replace(BASE, offset=7)) == fingerprint(BASE)


def test_the_fingerprint_is_part_of_the_stored_format() -> None:
    """A new version of the worker recognizes what an older one stored (G1)."""
    assert fingerprint(BASE) == Fingerprint(NEW_YEAR_MS, 2_848_355_195)


@pytest.mark.parametrize("timestamp", [None, -1])
def test_a_record_without_a_timestamp_has_none_in_its_fingerprint(timestamp: int | None) -> None:
    """The protocol writes a missing timestamp as -1 (G1)."""
    assert fingerprint(dataclasses.replace(BASE, timestamp=timestamp)).timestamp_ms is None


def test_record_bytes_counts_key_value_and_headers() -> None:
    """Null counts nothing (G8)."""
    assert record_bytes(BASE) == 3 + 5 + 2 + 1
    assert record_bytes(MadeRecord(key=None, value=None)) == 0


def test_aiokafkas_record_is_a_record() -> None:
    """The transport hands its records over as they are (G1)."""
    theirs = ConsumerRecord(
        topic=BASE.topic,
        partition=BASE.partition,
        offset=BASE.offset,
        timestamp=NEW_YEAR_MS,
        timestamp_type=0,
        key=BASE.key,
        value=BASE.value,
        checksum=None,
        serialized_key_size=3,
        serialized_value_size=5,
        headers=tuple(BASE.headers),
    )
    record: Record = theirs

    assert fingerprint(record) == fingerprint(BASE)
