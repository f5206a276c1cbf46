"""Deletion policies on histories whose bundles are those that a partition's flushes make.

The policies and what they cost are `benchmarks.deletion`'s; which messages share a bundle is
`borders`'. `played_at_once` of the tests holds the simulation to the real pieces.
"""

from collections.abc import Sequence
from random import Random

from benchmarks.deletion import (
    COUNTED_FROM,
    DAY_S,
    DAYS,
    ITEM_BYTES,
    LIGHT,
    MESSAGE_BYTES,
    POLICIES,
    READ,
    TWO_READS,
    Bundle,
    Day,
    User,
    play,
)
from benchmarks.units.borders import Partition, cuts
from benchmarks.units.day import History, history, limited


def bundled(past: History, partition: Partition) -> list[User]:
    """The users of a history, with the bundles that the flushes make of their messages."""
    partition = limited(partition, past.sent)
    made: list[list[Bundle]] = [[] for _ in past.users]
    begin_day = COUNTED_FROM - past.counted_from_s / DAY_S
    for cut in cuts([one.at_s for one in past.sent], partition, Random(1)):
        bundles: dict[int, Bundle] = {}
        for one in past.sent[cut.first : cut.end]:
            if one.user not in bundles:
                written = begin_day + (cut.at_s + partition.flush_s) / DAY_S
                bundles[one.user] = Bundle(written, ITEM_BYTES, 0)
            bundles[one.user].size += MESSAGE_BYTES + one.body_bytes
            bundles[one.user].messages += 1
        for user, bundle in bundles.items():
            made[user].append(bundle)
    return [
        User(user.returns_per_day, bundles, user.returns)
        for user, bundles in zip(past.users, made, strict=True)
    ]


def policies(partition: Partition, users: int) -> dict[str, dict[str, dict[str, float]]]:
    """By day and policy, write units per 1,000 messages, and KB that a fetch reads again."""
    return {day.name: _of(day, partition, users) for day in (Day(), LIGHT)}


def _of(day: Day, partition: Partition, count: int) -> dict[str, dict[str, float]]:
    people: Sequence[User] = bundled(
        history(day, count, before_days=COUNTED_FROM, days=DAYS - COUNTED_FROM), partition
    )
    found = {}
    for name, policy in POLICIES.items():
        cost = play(people, policy, two_reads=name == TWO_READS)
        found[name] = {
            "written": cost.per_thousand(cost.writes),
            "ack": cost.per_thousand(cost.acks),
            "delete": cost.per_thousand(cost.deletes),
            "read": cost.per_thousand(cost.reads * READ),
            "stored": cost.per_thousand(cost.stored),
            "all": cost.per_thousand(cost.writes + cost.after_writing),
            "again_kb": cost.reread_bytes / cost.fetches / 1024,
            "again_kb_max": cost.reread_bytes_max / 1024,
        }
    return found
