"""A key in two partitions is noticed, once, by a sample that is bounded."""

import random
import zlib
from typing import Any

import pytest
from aiokafka.partitioner import murmur2

from tests.records import MadeRecord
from worker.key_sample import RECORDS_CHECKED_MAX, REPLACE_EVERY, KeySample, log_mixed_partitioners


def batch(partition: int, *keys: bytes | None) -> list[MadeRecord]:
    return [MadeRecord(key=key, partition=partition, offset=n) for n, key in enumerate(keys)]


def test_a_key_in_a_second_partition_is_told_once() -> None:
    """Whatever comes later, and of whatever key."""
    sample = KeySample()

    assert sample.check(batch(0, b"ann")) is None
    assert sample.check(batch(0, b"ann")) is None
    assert sample.check(batch(1, b"bob")) is None
    assert sample.check(batch(1, b"ann")) == (0, 1)
    assert sample.check(batch(0, b"bob")) is None
    assert len(sample) == 0  # nothing is kept that is of no use


def test_records_without_a_key_are_in_any_partition() -> None:
    """They are no user's."""
    sample = KeySample()

    assert sample.check(batch(0, None)) is None
    assert sample.check(batch(1, None)) is None
    assert sample.check([]) is None


class _CountedKeys(list[MadeRecord]):
    """Records that count how many of them are checked."""

    checked = 0

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        self.checked += len(found)
        return found


@pytest.mark.parametrize("count", [1, RECORDS_CHECKED_MAX, RECORDS_CHECKED_MAX + 1, 100, 5000])
def test_few_keys_of_a_batch_are_checked(count: int) -> None:
    """However large it is: the cost per record is about nil."""
    records = _CountedKeys(batch(0, *(b"%d" % n for n in range(count))))
    KeySample().check(records)

    assert 1 <= records.checked <= RECORDS_CHECKED_MAX


def test_the_sample_is_bounded_and_renewed_slowly() -> None:
    """Keys that are never seen again give way to new ones."""
    sample = KeySample(sample_max=10)
    for n in range(10 + 10 * REPLACE_EVERY):
        sample.check(batch(0, b"%d" % n))

    assert len(sample) == 10
    assert sample.check(batch(1, b"0")) is None  # it was the oldest
    assert sample.check(batch(1, b"%d" % (9 + 10 * REPLACE_EVERY))) == (0, 1)


def _partition(hashed: int) -> int:
    return hashed % 6


def test_two_kinds_of_producers_are_noticed_and_one_kind_never_is() -> None:
    """Of 100,000 users, in batches of 20 records: murmur2 and CRC32, as Java's and librdkafka's
    producers have them."""
    rng = random.Random(7)
    for kinds, is_noticed in ((["murmur2"], False), (["murmur2", "crc32"], True)):
        sample, noticed = KeySample(), False
        for _ in range(3_000):
            waiting: dict[int, list[bytes]] = {}
            for _ in range(20):
                key = b"user-%d" % rng.randrange(100_000)
                crc = rng.choice(kinds) == "crc32"
                hashed = zlib.crc32(key) if crc else murmur2(key) & 0x7FFFFFFF
                waiting.setdefault(_partition(hashed), []).append(key)
            noticed |= any(sample.check(batch(p, *keys)) for p, keys in waiting.items())
            if noticed:
                break

        assert noticed is is_noticed


def test_the_warning_names_partitions_and_the_setting_and_no_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is no error: nothing is lost."""
    log_mixed_partitioners(2, 5)

    (line,) = caplog.records
    assert line.levelname == "WARNING"
    assert line.getMessage().startswith("partitions 2 and 5 hold records with the same key")
    assert "partitioner=murmur2_random" in line.getMessage()
    assert vars(line)["event"] == "key_in_two_partitions"
    assert vars(line)["fields"] == {"partitions": [2, 5]}
