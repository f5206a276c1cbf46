"""A record of the dead-letter topic, and which of them a command means. Pure."""

import re
import zlib
from dataclasses import dataclass
from typing import NamedTuple

from worker.errors import Reason
from worker.record import Record, RecordHeader

#: The headers that make a record a dead letter, behind its own.
HEADERS = frozenset(
    f"dead-letter-{name}" for name in ("reason", "detail", "topic", "partition", "offset")
)


class Place(NamedTuple):
    """Where a record stands in a topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A record of the dead-letter topic.

    record: None: the client cannot decode it. reason, source: of a dead letter. foreign: why it is
    none of this topic; empty: it is one.
    """

    place: Place
    record: Record | None
    reason: Reason | None = None
    detail: str = ""
    source: Place | None = None
    foreign: str = ""

    def original_headers(self) -> list[RecordHeader]:
        """Return the record's own headers."""
        assert self.record is not None
        return [(name, value) for name, value in self.record.headers if name not in HEADERS]

    def identity(self) -> tuple[Place | None, int | None, int]:
        """Return what two dead letters of one record have in common: a replay makes a second."""
        assert self.record is not None
        return self.source, self.record.timestamp, body_crc(self.record)


def body_crc(record: Record) -> int:
    """CRC-32 of a record's value and key."""
    return zlib.crc32(record.key or b"", zlib.crc32(record.value or b""))


def letter_of(record: Record, topic: str) -> StoredLetter:
    """Return a record of the dead-letter topic. topic: the source topic. Pure."""
    place = Place(record.partition, record.offset)
    named = {name: value for name, value in record.headers if name in HEADERS}  # the last counts
    missing = sorted(name for name in HEADERS if named.get(name) is None)
    if missing:
        return StoredLetter(place, record, foreign=f"it has no header {missing[0]}")
    text = {name: (value or b"").decode(errors="replace") for name, value in named.items()}
    if text["dead-letter-topic"] != topic:
        return StoredLetter(
            place, record, foreign=f"it is of the topic {text['dead-letter-topic']!r}"
        )
    try:
        reason = Reason(text["dead-letter-reason"])
        source = Place(*(_number(text[f"dead-letter-{name}"]) for name in Place._fields))
    except ValueError as error:
        return StoredLetter(place, record, foreign=f"its headers are damaged: {error}")
    return StoredLetter(place, record, reason, text["dead-letter-detail"], source)


def _number(text: str) -> int:
    if re.fullmatch(r"\d{1,19}", text, re.ASCII) is None:
        raise ValueError(f"{text!r} is no number")
    return int(text)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant. Empty: all.

    partitions, offset: of the dead-letter topic; an offset is the first one, of one partition.
    since_ms: by the timestamp of the record, which a dead letter keeps. places: these alone.
    """

    reasons: frozenset[Reason] = frozenset()
    partitions: tuple[int, ...] = ()
    offset: int | None = None
    since_ms: int | None = None
    places: tuple[Place, ...] = ()

    def has(self, letter: StoredLetter) -> bool:
        """Whether a letter is one of these, wherever it stands."""
        if self.reasons and letter.reason not in self.reasons:
            return False
        if self.since_ms is None:
            return True
        timestamp = None if letter.record is None else letter.record.timestamp
        return timestamp is not None and timestamp >= self.since_ms
