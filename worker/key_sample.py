"""Samples keys to detect one in two partitions: its producers partition differently.

Java's producers and aiokafka hash a key with murmur2, librdkafka with CRC32 by default. With both
kinds writing to one topic most users have records in two partitions, without order between them.
The worker cannot repair that, so it logs it once.
"""

import logging
from collections.abc import Sequence

from worker.logging_config import event
from worker.record import Record

logger = logging.getLogger(__name__)

#: Remembered keys, as hashes: about half a megabyte.
SAMPLE_MAX = 4096
#: Records of a batch whose keys are checked: two microseconds, whatever the batch holds.
RECORDS_CHECKED_MAX = 8
#: Once the sample is full, one new key in so many replaces the oldest. Keys that do not return give
#: way; those that stay are remembered for long.
REPLACE_EVERY = 64


class KeySample:
    """Detects a key in a second partition, once per process. Pure.

    It stores each key's `hash`, which is random per process and has 64 bits: a collision is less
    likely than any fault of the machine.
    """

    def __init__(self, sample_max: int = SAMPLE_MAX) -> None:
        self._sample_max = sample_max
        self._partitions: dict[int, int] = {}
        self._passed_over = 0
        self._is_done = False

    def __len__(self) -> int:
        return len(self._partitions)

    def check(self, records: Sequence[Record]) -> tuple[int, int] | None:
        """Return the two partitions of the first key found in both; otherwise None.

        records: one batch, of one partition.
        """
        if self._is_done:
            return None
        step = -(-len(records) // RECORDS_CHECKED_MAX) or 1
        for record in records[::step]:
            if record.key is None:
                continue
            before = self._partition_of(hash(record.key), record.partition)
            if before != record.partition:
                self._is_done = True
                self._partitions.clear()
                return before, record.partition
        return None

    def _partition_of(self, key_hash: int, partition: int) -> int:
        """Return the partition in which a key was met before; if none, `partition`, and perhaps
        remember it."""
        before = self._partitions.get(key_hash)
        if before is not None:
            return before
        if len(self._partitions) >= self._sample_max:
            self._passed_over += 1
            if self._passed_over % REPLACE_EVERY:
                return partition
            del self._partitions[next(iter(self._partitions))]
        self._partitions[key_hash] = partition
        return partition


def log_mixed_partitioners(first: int, second: int) -> None:
    """Log one WARNING: records with the same key are in both partitions. It names no key."""
    logger.warning(
        "partitions %d and %d hold records with the same key: a user's messages are in order within"
        " a partition only. Make all producers partition alike (partitioner=murmur2_random for"
        " librdkafka); records from before partitions were added look the same",
        first, second,
        extra=event("key_in_two_partitions", partitions=[first, second]),
    )  # fmt: skip
