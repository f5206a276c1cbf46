"""Records as a worker fetches them, the same ones every time: the loads that are measured.

A batch is a run of records of one partition, as many as the worker's default takes at most. A user
is always in the same partition.
"""

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from aiokafka.structs import ConsumerRecord

TOPIC, PARTITIONS, BODY_BYTES = "undelivered-messages", 4, 300
#: Records of a batch, as the worker takes them and a plain script asks for them.
BATCH_RECORDS = 5_000
#: The skewed backlog: users, and the exponent of the Zipf distribution of their messages.
ZIPF_USERS, ZIPF_EXPONENT = 10_000, 1.2
#: 2026-01-01T00:00:00Z, epoch milliseconds.
_BEGIN_MS = 1_767_225_600_000

Batch = Sequence[Any]


def each_to_another(records: int) -> list[Batch]:
    """Every message to another user."""
    return _batches([b"user-%010d" % n for n in range(records)])


def skewed(records: int) -> list[Batch]:
    """A backlog in which few users have most of the messages."""
    weights = list(accumulate(n**-ZIPF_EXPONENT for n in range(1, ZIPF_USERS + 1)))
    drawn = random.Random(7).choices(range(ZIPF_USERS), cum_weights=weights, k=records)
    return _batches([b"user-%010d" % n for n in drawn])


def one_hot_user(records: int) -> list[Batch]:
    """All to one."""
    return _batches([b"user-0000000000"] * records)


def _batches(keys: Sequence[bytes]) -> list[Batch]:
    """Records by partition, a user always in the same, cut into batches."""
    logs: list[list[Any]] = [[] for _ in range(PARTITIONS)]
    for n, key in enumerate(keys):
        partition = int(key[-10:]) % PARTITIONS
        log = logs[partition]
        log.append(_record(partition, len(log), key, n))
    return [
        log[at : at + BATCH_RECORDS] for log in logs for at in range(0, len(log), BATCH_RECORDS)
    ]


def _record(partition: int, offset: int, key: bytes, n: int) -> Any:
    value = (b"%d " % n).ljust(BODY_BYTES, b"x")
    return ConsumerRecord(
        topic=TOPIC, partition=partition, offset=offset, timestamp=_BEGIN_MS + n, timestamp_type=0,
        key=key, value=value, checksum=None, serialized_key_size=len(key),
        serialized_value_size=len(value), headers=(),
    )  # fmt: skip
