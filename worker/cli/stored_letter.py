"""Records of the dead-letter topic, and their selection. Pure."""

import re
import zlib
from dataclasses import dataclass
from typing import NamedTuple

from worker.errors import DeadLetterReason
from worker.record import Record, RecordHeader

#: The headers of a dead letter, after the record's own.
HEADERS = frozenset(
    f"dead-letter-{name}" for name in ("reason", "detail", "topic", "partition", "offset")
)


class RecordPlace(NamedTuple):
    """The partition and offset of a record."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A record of the dead-letter topic.

    record: None: the client cannot decode it. reason, source: of a dead letter. foreign: why it is
    no dead letter of this topic; empty: it is one.
    """

    place: RecordPlace
    record: Record | None
    reason: DeadLetterReason | None = None
    detail: str = ""
    source: RecordPlace | None = None
    foreign: str = ""

    def original_headers(self) -> list[RecordHeader]:
        """Return the record's own headers."""
        assert self.record is not None
        return [(name, value) for name, value in self.record.headers if name not in HEADERS]

    def identity(self) -> tuple[RecordPlace | None, int | None, int]:
        """Return the identity of the record's dead letters. A replay may make a second one."""
        assert self.record is not None
        return self.source, self.record.timestamp, body_crc(self.record)


def body_crc(record: Record) -> int:
    """Return the CRC-32 of a record's value and key."""
    return zlib.crc32(record.key or b"", zlib.crc32(record.value or b""))


def parse_dead_letter(record: Record, topic: str) -> StoredDeadLetter:
    """Parse a record of the dead-letter topic. topic: the source topic. Pure."""
    place = RecordPlace(record.partition, record.offset)
    named = {name: value for name, value in record.headers if name in HEADERS}  # the last counts
    missing = sorted(name for name in HEADERS if named.get(name) is None)
    if missing:
        return StoredDeadLetter(place, record, foreign=f"it has no header {missing[0]}")
    text = {name: (value or b"").decode(errors="replace") for name, value in named.items()}
    if text["dead-letter-topic"] != topic:
        return StoredDeadLetter(
            place, record, foreign=f"it is of the topic {text['dead-letter-topic']!r}"
        )
    try:
        reason = DeadLetterReason(text["dead-letter-reason"])
        source = RecordPlace(
            *(_number(text[f"dead-letter-{name}"]) for name in RecordPlace._fields)
        )
    except ValueError as error:
        return StoredDeadLetter(place, record, foreign=f"its headers are damaged: {error}")
    return StoredDeadLetter(place, record, reason, text["dead-letter-detail"], source)


def _number(text: str) -> int:
    if re.fullmatch(r"\d{1,19}", text, re.ASCII) is None:
        raise ValueError(f"{text!r} is no number")
    return int(text)


@dataclass(frozen=True, slots=True)
class DeadLetterSelection:
    """A selection of dead letters. Empty: all.

    partitions, offset: of the dead-letter topic; an offset is the first one, of one partition.
    since_ms: by the timestamp of the record, which a dead letter keeps. places: these alone.
    """

    reasons: frozenset[DeadLetterReason] = frozenset()
    partitions: tuple[int, ...] = ()
    offset: int | None = None
    since_ms: int | None = None
    places: tuple[RecordPlace, ...] = ()

    def matches(self, letter: StoredDeadLetter) -> bool:
        """Return whether a letter has these reasons and this time."""
        if self.reasons and letter.reason not in self.reasons:
            return False
        if self.since_ms is None:
            return True
        timestamp = None if letter.record is None else letter.record.timestamp
        return timestamp is not None and timestamp >= self.since_ms
