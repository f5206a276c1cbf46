"""Partitioners of producers, for `open_mailboxes(partitioner=...)`. Pure.

    murmur2   Java's producer, Kafka Streams, aiokafka, librdkafka with `murmur2_random`
    crc32     librdkafka's default for keyed records, `consistent_random`

Sources: `BuiltInPartitioner.partitionForKey` and `Utils.murmur2` of Apache Kafka, and
`rd_kafka_msg_partitioner_consistent` of librdkafka.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

#: Returns the partition of a key: (its bytes, number of partitions) -> partition.
Partitioner = Callable[[bytes, int], int]

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995
_SEED = 0x9747B28C


def murmur2(key: bytes, partitions: int) -> int:
    """Return the partition that Java's producer chooses."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    """Return the hash as an unsigned 32-bit number."""
    h = (_SEED ^ len(data)) & _MASK
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ (k >> 24)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


def crc32(key: bytes, partitions: int) -> int:
    """Return the partition that librdkafka chooses by default."""
    return zlib.crc32(key) % partitions


#: By the name that `open_mailboxes` takes.
PARTITIONERS: Mapping[str, Partitioner] = {"murmur2": murmur2, "crc32": crc32}


def resolve_partitioner(value: Any) -> Partitioner | None:
    """Return the partitioner of a name or a callable, or None. Raises ValueError."""
    if value is None or callable(value):
        return value  # type: ignore[no-any-return]
    if value in PARTITIONERS:
        return PARTITIONERS[value]
    names = ", ".join(map(repr, PARTITIONERS))
    raise ValueError(f"partitioner must be one of {names}, or a callable, not {value!r}")
