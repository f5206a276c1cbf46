"""The loads that are measured: which user gets each message, the same every time. Pure.

A user is always in the same partition. A body begins with the number of its message, so that an
endpoint can tell which messages have arrived.
"""

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from aiokafka.structs import ConsumerRecord

from benchmarks.endpoint import NUMBER_DIGITS

TOPIC, PARTITIONS, BODY_BYTES = "undelivered-messages", 4, 300
#: Records of a batch, as the worker takes them and a plain script asks for them.
BATCH_RECORDS = 5_000
#: The skewed backlog: users, and the exponent of the Zipf distribution of their messages.
ZIPF_USERS, ZIPF_EXPONENT = 10_000, 1.2
#: 2026-01-01T00:00:00Z, epoch milliseconds.
_BEGIN_MS = 1_767_225_600_000

Batch = Sequence[Any]


def each_to_another(messages: int) -> list[bytes]:
    """Every message to another user: the worker's worst case, since nothing can be bundled."""
    return [b"user-%010d" % n for n in range(messages)]


def skewed(messages: int) -> list[bytes]:
    """A backlog in which few users have most of the messages."""
    weights = list(accumulate(n**-ZIPF_EXPONENT for n in range(1, ZIPF_USERS + 1)))
    drawn = random.Random(7).choices(range(ZIPF_USERS), cum_weights=weights, k=messages)
    return [b"user-%010d" % n for n in drawn]


def one_hot_user(messages: int) -> list[bytes]:
    """All messages to one user."""
    return [b"user-0000000000"] * messages


def body(number: int, size: int = BODY_BYTES) -> bytes:
    """The body of a message."""
    return (b"%0*d " % (NUMBER_DIGITS, number)).ljust(size, b"x")


def batches(users: Sequence[bytes], body_bytes: int = BODY_BYTES) -> list[Batch]:
    """Records as a worker fetches them, in full batches of one partition."""
    logs: list[list[Any]] = [[] for _ in range(PARTITIONS)]
    for n, user in enumerate(users):
        log = logs[int(user[-10:]) % PARTITIONS]
        log.append(_record(int(user[-10:]) % PARTITIONS, len(log), user, n, body_bytes))
    return [
        log[at : at + BATCH_RECORDS] for log in logs for at in range(0, len(log), BATCH_RECORDS)
    ]


def _record(partition: int, offset: int, user: bytes, number: int, body_bytes: int) -> Any:
    value = body(number, body_bytes)
    return ConsumerRecord(
        topic=TOPIC, partition=partition, offset=offset, timestamp=_BEGIN_MS + number,
        timestamp_type=0, key=user, value=value, checksum=None, serialized_key_size=len(user),
        serialized_value_size=len(value), headers=(),
    )  # fmt: skip
