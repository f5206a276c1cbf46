"""Which partition producers give a key: the documents' vectors, by the clients' own hashes."""

import zlib
from collections.abc import Callable

import pytest
from aiokafka.partitioner import DefaultPartitioner, murmur2

from tests.pages import code, page, table

#: Of Kafka's own tests (org.apache.kafka.common.utils.UtilsTest, testMurmur2), signed.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
PARTITIONS = list(range(12))


@pytest.mark.parametrize("key", JAVA)
def test_aiokafkas_murmur2_is_javas(key: bytes) -> None:
    """So that aiokafka's producers and Java's give a user one partition (G3)."""
    assert murmur2(key) == JAVA[key] & 0xFFFFFFFF
    assert DefaultPartitioner()(key, PARTITIONS, PARTITIONS) == (JAVA[key] & 0x7FFFFFFF) % 12


def _crc32(key: bytes) -> int:
    return zlib.crc32(key) % 12


def _murmur2(key: bytes) -> int:
    return int(murmur2(key) & 0x7FFFFFFF) % 12


@pytest.mark.parametrize(("column", "partition"), [(1, _murmur2), (2, _crc32)])
def test_the_partitions_are_what_the_page_says(
    column: int, partition: Callable[[bytes], int]
) -> None:
    """Whoever writes a producer tries it on these (G3)."""
    rows = table(page("format"), "key", "murmur2", "CRC-32")

    assert len(rows) > 4
    assert {code(row[0]): int(row[column]) for row in rows} == {
        code(row[0]): partition(code(row[0]).encode()) for row in rows
    }
