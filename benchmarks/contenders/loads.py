"""Who gets what, in the order of sending: the loads of the contenders, from a seed. Pure.

The realistic loads are made of `benchmarks.users`' histories, message by message, and *folded*:
each span of a user's 90 days is a user of its own, and all spans lie over each other. So a few
histories give as many users as send that many messages in one span, each of them with the bursts,
gaps and bodies that `Day` says.
"""

import random
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import NamedTuple
from zlib import crc32

from benchmarks.capacity_inputs import Machine
from benchmarks.users import DAY_S, Day, users
from benchmarks.workloads import ZIPF_EXPONENT, ZIPF_USERS

#: Histories that are made for a folded load at most: each has some thousand messages.
_HISTORIES_MAX = 10_000
_SEED = 7


class Sent(NamedTuple):
    """One message."""

    user: bytes
    body_bytes: int

    def partition(self, partitions: int) -> int:
        """A user is always in the same one."""
        return crc32(self.user) % partitions

    def body(self, n: int) -> bytes:
        return (b"%d " % n).ljust(self.body_bytes, b"x")


def each_to_another(records: int, body_bytes: int) -> Iterator[Sent]:
    """Every message to another user."""
    return (Sent(b"user-%010d" % n, body_bytes) for n in range(records))


def zipf(records: int, body_bytes: int) -> Iterator[Sent]:
    """A backlog in which few users have most of the messages."""
    weights = list(accumulate(n**-ZIPF_EXPONENT for n in range(1, ZIPF_USERS + 1)))
    drawn = random.Random(_SEED).choices(range(ZIPF_USERS), cum_weights=weights, k=records)
    return (Sent(b"user-%010d" % n, body_bytes) for n in drawn)


def one_hot_user(records: int, body_bytes: int) -> Iterator[Sent]:
    """All to one."""
    return (Sent(b"user-0000000000", body_bytes) for _ in range(records))


def day(records: int, _: int) -> Iterator[Sent]:
    """A day's messages of a few thousand users, read as one backlog; bodies as `Day` has them."""
    return (sent for _, sent in folded(records, DAY_S))


def seconds_of_many(records: int, _: int) -> Iterator[Sent]:
    """The same bursts at the pace of a large service: `partition_messages_per_s` of each of four
    partitions, so that a batch of the worker spans seconds."""
    per_s = 4 * Machine(worker_cpu_us=0, scan_cpu_us=0).partition_messages_per_s
    return (sent for _, sent in folded(records, records / per_s))


def folded(records: int, span_s: float) -> list[tuple[float, Sent]]:
    """So many messages, by the seconds of a span in which they are sent."""
    found: list[tuple[float, Sent]] = []
    for user, history in enumerate(users(Day(), _HISTORIES_MAX, _SEED)):
        for at, body_bytes in history.messages:
            part, at_s = divmod(at * DAY_S, span_s)
            found.append((at_s, Sent(b"user-%05d-%07d" % (user, part), body_bytes)))
        if len(found) >= records:
            break
    return sorted(found[:records])


LOADS: dict[str, Callable[[int, int], Iterator[Sent]]] = {
    "each to another": each_to_another,
    "Zipf": zipf,
    "one hot user": one_hot_user,
    "a day of few": day,
    "seconds of many": seconds_of_many,
}
