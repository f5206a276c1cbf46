"""A record as Kafka holds it, its fingerprint and its size."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

#: Epoch milliseconds of 2010-01-01: Kafka is of 2011; what is earlier is no time of a record.
TIMESTAMP_MS_MIN = 1_262_304_000_000
#: The last millisecond of the year 9999, the last one that a datetime can hold.
TIMESTAMP_MS_MAX = 253_402_300_799_999

RecordHeader = tuple[str, bytes | None]


class Record(Protocol):
    """One record of a partition; aiokafka's ConsumerRecord is one.

    timestamp: epoch milliseconds; None or -1: the record has none.
    key, value: None is not the same as empty.
    headers: in order; names repeat, values may be null.
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
    """What tells a record from another one at the same offset of a re-created log.

    timestamp_ms: None where the record has none. crc: CRC-32 of key, value and headers.
    """

    timestamp_ms: int | None
    crc: int


def fingerprint(record: Record) -> Fingerprint:
    """The fingerprint of a record. Stored with progress: its bytes are part of the format.

    The CRC runs over key, value, and each header's name and value, in order; each is preceded by
    its length as 8 bytes, big-endian, two's complement, null being -1 and nothing more.
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
    """Bytes of key, value and headers, as they stand in memory, without Python's overhead."""
    key, value, headers = record.key, record.value, record.headers
    size = (len(key) if key else 0) + (len(value) if value else 0)
    if headers:
        for name, content in headers:
            size += len(name) + (len(content) if content else 0)
    return size
