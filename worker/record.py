"""A record as Kafka holds it, its fingerprint and its size."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

#: Epoch milliseconds of 2010-01-01. Kafka dates from 2011, so an earlier timestamp is wrong.
TIMESTAMP_MS_MIN = 1_262_304_000_000
#: The last millisecond of the year 9999, the last that a datetime can hold.
TIMESTAMP_MS_MAX = 253_402_300_799_999

RecordHeader = tuple[str, bytes | None]


class Record(Protocol):
    """One record of a partition; aiokafka's ConsumerRecord is one.

    timestamp: epoch milliseconds; None or -1: the record has none. key, value: None differs from
    empty. headers: in order; names repeat, values may be null.
    """

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int | None: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[RecordHeader]: ...


class Fingerprint(NamedTuple):
    """Tells a record from another one at the same offset of a re-created log.

    timestamp_ms: None if the record has none. crc: CRC-32 of key, value and headers.
    """

    timestamp_ms: int | None
    crc: int


def fingerprint(record: Record) -> Fingerprint:
    """Return the fingerprint of a record. It is stored with progress: part of the format.

    The CRC runs over key, value, and each header's name and value, in order. Each is preceded by
    its length as 8 bytes, big-endian, two's complement; null is -1 and nothing more.
    """
    crc = _crc(record.key, 0)
    crc = _crc(record.value, crc)
    for name, value in record.headers:
        crc = _crc(name.encode(errors="surrogatepass"), crc)
        crc = _crc(value, crc)
    timestamp = record.timestamp
    return Fingerprint(None if timestamp is None or timestamp < 0 else timestamp, crc)


def _crc(part: bytes | None, crc: int) -> int:
    length = -1 if part is None else len(part)
    crc = zlib.crc32(length.to_bytes(8, "big", signed=True), crc)
    return crc if part is None else zlib.crc32(part, crc)


def record_bytes(record: Record) -> int:
    """Return the bytes of key, value and headers in memory, without Python's overhead."""
    key, value, headers = record.key, record.value, record.headers
    size = (len(key) if key else 0) + (len(value) if value else 0)
    if headers:
        for name, content in headers:
            size += len(name) + (len(content) if content else 0)
    return size
