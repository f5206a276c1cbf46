"""A sample of keys, to notice when one is in two partitions: its producers partition differently.

Java's producers and aiokafka's hash a key with murmur2, librdkafka's with CRC32 by default: with
both kinds writing to one topic most users have records in two partitions, and no order holds
between those. The worker cannot mend that, so it says it, once.
"""

import logging
from collections.abc import Sequence

from worker.logging_config import event
from worker.record import Record

logger = logging.getLogger(__name__)

#: Keys that are remembered, as their hashes: about half a megabyte.
SAMPLE_MAX = 4096
#: Records of one batch whose keys are looked at: two microseconds, whatever the batch holds.
LOOKS_MAX = 8
#: Once the sample is full, one new key in so many replaces the oldest: keys that are never seen
#: again give way, and those that stay are remembered for long.
REPLACE_EVERY = 64


class KeySample:
    """Tells when a key is met in a second partition, once for the life of the process. Pure.

    Keys are remembered by `hash`, which is random for each process and has 64 bits: that two of
    them meet is less likely than any fault of the machine.
    """

    def __init__(self, sample_max: int = SAMPLE_MAX) -> None:
        self._sample_max = sample_max
        self._partitions: dict[int, int] = {}
        self._passed_over = 0
        self._is_done = False

    def __len__(self) -> int:
        return len(self._partitions)

    def look(self, records: Sequence[Record]) -> tuple[int, int] | None:
        """The partitions of a key that was met before in another one, the first time; else None.

        records: one batch, of one partition.
        """
        if self._is_done:
            return None
        step = -(-len(records) // LOOKS_MAX) or 1
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
        """Where a key was met before; `partition`, and it may be remembered, if nowhere."""
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
    """One WARNING: records with the same key are in both partitions. It names no key."""
    logger.warning(
        "partitions %d and %d hold records with the same key: a user's messages are in order within"
        " a partition only. Make all producers partition alike (partitioner=murmur2_random for"
        " librdkafka); records from before partitions were added look the same",
        first, second,
        extra=event("key_in_two_partitions", partitions=[first, second]),
    )  # fmt: skip
