"""What acknowledged bundles cost, policy by policy: deleted, re-read, or left to TTL. Pure.

    python -m benchmarks.deletion [USERS]

A delete costs what the write of the item cost; an item that is left below the cursor is read
again by every fetch, and stored, until TTL removes it for nothing. Nothing is measured here: a
history of users is made from a seed, every policy is played on it, and DynamoDB's rules of
rounding give the units. All costs are said in write units, by list price.

The realistic day: every user returns so many times a day (log-normal, median 2, sigma 1.3: one in
six less than every other day, one in six above 7 times), and while he is away gets so many bursts
a day (log-normal, median 3, sigma 1) of 3 messages in the mean (geometric), 10 s apart in the mean.
Bodies are log-normal with a median of 300 bytes, sigma 0.8. One user in ten has left for good. All
of this is assumed, and no service's account: put your own into `Day`. Messages of a burst that come
within `linger_s` share a bundle. 30 days of retention, one day until TTL has removed what expired;
90 days are played and the last 45 are counted. The light day has users who return once a day and
get one burst in two days.
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, log

#: Dollars, on demand, us-east-1: a write unit, a read unit, a GB stored for a month
#: (https://aws.amazon.com/dynamodb/pricing/on-demand/).
WRITE_UNIT, READ_UNIT, GB_MONTH = 0.625e-6, 0.125e-6, 0.25
#: Bytes: of one write unit, of one read unit, that are stored with each item besides (developer
#: guide, "Read and write operations"; "Item sizes and formats").
WRITE_BYTES, READ_BYTES, STORED_BYTES = 1024, 4096, 100
#: Of a read unit, and of a byte for a day, in write units.
READ = READ_UNIT / WRITE_UNIT
BYTE_DAY = GB_MONTH / 2**30 / 30 / WRITE_UNIT
#: Bytes of a bundle without its messages and of a message without its body: the table of sizes in
#: docs/dynamodb.md; of a cursor, of one partition, rounded up.
ITEM_BYTES, MESSAGE_BYTES, CURSOR_BYTES = 110, 33, 60

DAYS, COUNTED_FROM, RETENTION_DAYS, TTL_LAG_DAYS = 90.0, 45.0, 30.0, 1.0
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Day:
    """How users behave: medians per day, spreads of the log-normals, messages of a burst."""

    name: str = "realistic day"
    returns: float = 2.0
    returns_sigma: float = 1.3
    bursts: float = 3.0
    bursts_sigma: float = 1.0
    burst_messages: float = 3.0
    burst_gap_s: float = 10.0
    body_bytes: float = 300.0
    left_for_good: float = 0.1
    linger_s: float = 0.0


LIGHT = Day(name="light day", returns=1.0, bursts=0.5)
#: Nobody returns more often, or gets more: a day of 24 hours bears no more sessions.
_PER_DAY_MAX = 60.0
#: Bytes of the largest body in the history.
_BODY_BYTES_MAX = 20_000


@dataclass(slots=True)
class Bundle:
    """written, gone: days; gone is when TTL has removed it. reread: write units paid so far for
    reading it again."""

    written: float
    size: int
    messages: int
    reread: float = 0.0

    @property
    def gone(self) -> float:
        return self.written + RETENTION_DAYS + TTL_LAG_DAYS

    @property
    def delete_units(self) -> int:
        return ceil(self.size / WRITE_BYTES)


@dataclass(slots=True)
class User:
    """One user's history. returns_per_day: what a clairvoyant policy knows of him."""

    returns_per_day: float
    bundles: list[Bundle]
    returns: list[float]


Bundles = Sequence[Bundle]
#: Which bundles a page's acknowledgement deletes: of those left before and those acknowledged
#: now, for this user, today.
Policy = Callable[[Bundles, Bundles, User, float], list[Bundle]]


def users(day: Day, count: int, seed: int = 1) -> Iterator[User]:
    """Histories, from a seed."""
    chance = random.Random(seed)
    for _ in range(count):
        returns = min(_PER_DAY_MAX, chance.lognormvariate(log(day.returns), day.returns_sigma))
        if chance.random() < day.left_for_good:
            returns = 0.0
        bursts = min(_PER_DAY_MAX, chance.lognormvariate(log(day.bursts), day.bursts_sigma))
        bundles = [b for at in _times(chance, bursts) for b in _burst(chance, day, at)]
        bundles.sort(key=lambda bundle: bundle.written)
        yield User(returns, bundles, list(_times(chance, returns)))


def _times(chance: random.Random, per_day: float) -> Iterator[float]:
    at = 0.0
    while per_day and (at := at + chance.expovariate(per_day)) < DAYS:
        yield at


def _burst(chance: random.Random, day: Day, at: float) -> Iterator[Bundle]:
    bundle: Bundle | None = None
    while True:
        body = min(_BODY_BYTES_MAX, int(chance.lognormvariate(log(day.body_bytes), 0.8)))
        if bundle is None or (at - bundle.written) * DAY_S > day.linger_s:
            if bundle is not None:
                yield bundle
            bundle = Bundle(at, ITEM_BYTES, 0)
        bundle.size += MESSAGE_BYTES + body
        bundle.messages += 1
        if chance.random() < 1 / day.burst_messages:
            yield bundle
            return
        at += chance.expovariate(1 / day.burst_gap_s) / DAY_S


def at_once(left: Bundles, new: Bundles, *_: object) -> list[Bundle]:
    """What poste_restante does: what is acknowledged is deleted."""
    return [*left, *new]


def to_ttl(*_: object) -> list[Bundle]:
    return []


def within(bytes_max: int) -> Policy:
    """Leaves the oldest, which TTL removes first, as far as they fit into so many bytes."""

    def policy(left: Bundles, new: Bundles, *_: object) -> list[Bundle]:
        room, deleted = bytes_max, []
        for bundle in [*left, *new]:
            if bundle.size <= room:
                room -= bundle.size
            else:
                deleted.append(bundle)
        return deleted

    return policy


def second_meeting(bytes_max: int) -> Policy:
    """Deletes what a fetch has met again: who does not return within a month deletes nothing."""
    bound = within(bytes_max)

    def policy(left: Bundles, new: Bundles, user: User, now: float) -> list[Bundle]:
        return [*left, *bound([], new, user, now)]

    return policy


def ski_rental(bytes_max: int) -> Policy:
    """Deletes what has cost its own deletion in reads; all within so many bytes."""
    bound = within(bytes_max)

    def policy(left: Bundles, new: Bundles, user: User, now: float) -> list[Bundle]:
        paid = [bundle for bundle in left if bundle.reread >= bundle.delete_units]
        rest = [bundle for bundle in left if bundle.reread < bundle.delete_units]
        return [*paid, *bound(rest, new, user, now)]

    return policy


def clairvoyant(bytes_max: int) -> Policy:
    """Knows how often the user will return: a bound on what any rule could save."""
    bound = within(bytes_max)

    def policy(left: Bundles, new: Bundles, user: User, now: float) -> list[Bundle]:
        def stays(bundle: Bundle) -> bool:
            again = user.returns_per_day * bundle.size / READ_BYTES * READ
            stored = (bundle.size + STORED_BYTES) * BYTE_DAY
            return (again + stored) * (bundle.gone - now) < bundle.delete_units

        kept = [bundle for bundle in [*left, *new] if stays(bundle)]
        return [b for b in [*left, *new] if not stays(b)] + bound(kept, [], user, now)

    return policy


POLICIES: dict[str, Policy] = {
    "delete at once": at_once,
    "leave 2 KB": within(2 * 1024),
    "leave 4 KB, with the cursor": within(READ_BYTES - CURSOR_BYTES),
    "delete at the second meeting, within 4 KB": second_meeting(READ_BYTES - CURSOR_BYTES),
    "leave 16 KB": within(16 * 1024),
    "leave 64 KB": within(64 * 1024),
    "ski rental, within 64 KB": ski_rental(64 * 1024),
    "leave all to TTL": to_ttl,
    "clairvoyant, within 64 KB": clairvoyant(64 * 1024),
    "two reads, all to TTL": to_ttl,
}
#: Reads the cursor first and then what is above it: no leftover is read, but a reconnect is two
#: calls, one after the other. Not what G7 promises; here to say what that promise costs.
TWO_READS = "two reads, all to TTL"


@dataclass(slots=True)
class Cost:
    """Sums over the counted days, and what they come to in write units per 1,000 messages."""

    messages: int = 0
    fetches: int = 0
    writes: int = 0
    acks: int = 0
    deletes: int = 0
    reads: int = 0
    stored: float = 0.0
    reread_bytes: int = 0
    reread_bytes_max: int = 0

    def per_thousand(self, units: float) -> float:
        return 1000 * units / self.messages

    @property
    def after_writing(self) -> float:
        """Acknowledgements, deletes, reads, and storage behind the acknowledgement."""
        return self.acks + self.deletes + self.reads * READ + self.stored


def play(people: Sequence[User], policy: Policy, *, two_reads: bool = False) -> Cost:
    """One policy over everybody's history."""
    cost = Cost()
    for user in people:
        _play(user, policy, cost, two_reads=two_reads)
    return cost


def _play(user: User, policy: Policy, cost: Cost, *, two_reads: bool) -> None:
    counted = [bundle for bundle in user.bundles if bundle.written >= COUNTED_FROM]
    cost.messages += sum(bundle.messages for bundle in counted)
    cost.writes += sum(bundle.delete_units for bundle in counted)
    coming = iter([replace(bundle) for bundle in user.bundles])
    bundle = next(coming, None)
    left: list[Bundle] = []
    before = 0.0
    for now in user.returns:
        if before >= COUNTED_FROM:
            cost.stored += sum(
                (b.size + STORED_BYTES) * BYTE_DAY * (min(now, b.gone) - before) for b in left
            )
        left = [b for b in left if b.gone > now]
        new = []
        while bundle is not None and bundle.written <= now:
            if bundle.gone > now:
                new.append(bundle)
            bundle = next(coming, None)
        reread = 0 if two_reads else sum(b.size for b in left)
        for b in left:
            b.reread += b.size / READ_BYTES * READ
        deleted = {id(b) for b in policy(left, new, user, now)}
        if now >= COUNTED_FROM:
            cost.fetches += 1
            cost.acks += bool(new or deleted)
            cost.deletes += sum(b.delete_units for b in [*left, *new] if id(b) in deleted)
            page = reread + sum(b.size for b in new)
            cost.reads += ceil((CURSOR_BYTES * (not two_reads) + page) / READ_BYTES) or 1
            cost.reads += two_reads
            cost.reread_bytes += reread
            cost.reread_bytes_max = max(cost.reread_bytes_max, reread)
        left = [b for b in [*left, *new] if id(b) not in deleted]
        before = now


def table(day: Day, count: int) -> Iterator[str]:
    """The lines of a table, per 1,000 messages."""
    people = list(users(day, count))
    yield f"{day.name}, linger {day.linger_s:g} s: per 1,000 messages, in write units"
    heads = ("ack", "delete", "read", "stored", "in all", "again", "most")
    yield f"{'':26}" + "".join(f"{head:>8}" for head in heads)
    for name, policy in POLICIES.items():
        cost = play(people, policy, two_reads=name == TWO_READS)
        figures = (cost.acks, cost.deletes, cost.reads * READ, cost.stored, cost.after_writing)
        yield (
            f"{name:26}"
            + "".join(f"{cost.per_thousand(figure):8.0f}" for figure in figures)
            + f"{cost.reread_bytes / cost.fetches / 1024:8.1f}"
            + f"{cost.reread_bytes_max / 1024:8.0f}"
        )
    written = cost.per_thousand(cost.writes)
    yield f"(writing the bundles: {written:.0f}; again, most: KB below the cursor, per fetch)"


def main(count: int = 100) -> None:
    for day in (Day(), Day(linger_s=30.0), replace(LIGHT, linger_s=30.0)):
        print(*table(day, count), "", sep="\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
