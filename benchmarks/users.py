"""The users of the realistic day: what they are sent, and when they come back. Pure.

Every user returns so many times a day (log-normal, median 2, sigma 1.3: one in six less than every
other day, one in six above 7 times), and is sent so many bursts a day (log-normal, median 3,
sigma 1) of 3 messages in the mean (geometric), 10 s apart in the mean. Bodies are log-normal with a
median of 300 bytes, sigma 0.8. One user in ten has left for good. All of this is an assumption, and
no service's account: put your own into `Day`.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import log

DAY_S = 86_400.0
#: Days of a history.
DAYS = 90.0
#: A day of 24 hours bears no more sessions, and no more bursts.
_PER_DAY_MAX = 60.0
#: Bytes of the largest body in a history.
_BODY_BYTES_MAX = 20_000
_BODY_SIGMA = 0.8


class Way(StrEnum):
    """What a gateway does with what a user fetched."""

    ACKNOWLEDGE = "acknowledge"
    KEEP_RECEIPT = "clients keep their receipt"
    DELETE = "delete_acknowledged"


@dataclass(frozen=True, slots=True)
class Day:
    """Medians per day, spreads of the log-normals, messages of a burst, seconds between them."""

    returns: float = 2.0
    returns_sigma: float = 1.3
    bursts: float = 3.0
    bursts_sigma: float = 1.0
    burst_messages: float = 3.0
    burst_gap_s: float = 10.0
    body_bytes: float = 300.0
    left_for_good: float = 0.1


@dataclass(frozen=True, slots=True)
class User:
    """messages: when each is sent, in days, and the bytes of its body. returns: in days."""

    messages: list[tuple[float, int]]
    returns: list[float]


def users(day: Day, count: int, seed: int = 1) -> Iterator[User]:
    """Histories of `DAYS`, from a seed."""
    chance = random.Random(seed)
    for _ in range(count):
        returns = min(_PER_DAY_MAX, chance.lognormvariate(log(day.returns), day.returns_sigma))
        if chance.random() < day.left_for_good:
            returns = 0.0
        bursts = min(_PER_DAY_MAX, chance.lognormvariate(log(day.bursts), day.bursts_sigma))
        messages = [sent for at in _times(chance, bursts) for sent in _burst(chance, day, at)]
        yield User(sorted(messages), list(_times(chance, returns)))


def _times(chance: random.Random, per_day: float) -> Iterator[float]:
    at = 0.0
    while per_day and (at := at + chance.expovariate(per_day)) < DAYS:
        yield at


def _burst(chance: random.Random, day: Day, at: float) -> Iterator[tuple[float, int]]:
    while True:
        body = min(_BODY_BYTES_MAX, int(chance.lognormvariate(log(day.body_bytes), _BODY_SIGMA)))
        yield at, body
        if chance.random() < 1 / day.burst_messages:
            return
        at += chance.expovariate(1 / day.burst_gap_s) / DAY_S
