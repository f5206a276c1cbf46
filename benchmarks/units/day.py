"""The realistic day, by the real pieces: flushed, fetched and acknowledged, every unit counted.

The users are those of `benchmarks.deletion` (its `Day` says how they behave), message by message.
`borders` says which of their messages one flush has; the worker's Flusher writes them (decoded,
packed, encoded), and at each return a gateway's Mailboxes fetches all that waits and acknowledges.
Time is virtual: nothing sleeps, and every figure is a function of the seed.

What everybody else writes stands beside it, on the same messages: an item per message (two
keys, body, expiry), put when it comes and deleted when it was fetched.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import ceil
from random import Random
from statistics import quantiles
from typing import NamedTuple

from aiokafka.structs import ConsumerRecord

from benchmarks.deletion import (
    COUNTED_FROM,
    DAY_S,
    ITEM_BYTES,
    MESSAGE_BYTES,
    RETENTION_DAYS,
    TTL_LAG_DAYS,
    Day,
    User,
    users,
)
from benchmarks.units.borders import Cut, Partition, cuts, offsets, ticks_per_s
from benchmarks.units.table import TABLE, Counted, CountedTable
from benchmarks.workloads import TOPIC
from benchmarks.write_path import NoDeadLetters
from poste_restante.item import READ_UNIT_BYTES, item_bytes, write_units
from poste_restante.mailboxes import Mailboxes
from poste_restante.table import TableRecord
from worker.bundles import BundleLimits
from worker.decode import CloudEventsDecoder
from worker.dynamodb import Store
from worker.flush import Flusher
from worker.lives import BatchLimits
from worker.progress import DynamoDBProgress, Progress
from worker.writer import DynamoDBWriter

#: Seconds between two commits, the worker's default: progress is written that often.
COMMIT_INTERVAL_S = 5.0
#: 2026-01-01T00:00:00Z, epoch seconds: the histories' day 0.
BEGIN_S = 1_767_225_600.0
RECORD = TableRecord(table_id="table-1", topic=TOPIC, partitions=1, epoch=1)


class Sent(NamedTuple):
    """One message. at_s: seconds since the history's begin."""

    at_s: float
    user: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class History:
    """Users' days, cut to a stretch: what comes before `counted_from_s` fills the mailboxes."""

    sent: Sequence[Sent]
    returns: Sequence[tuple[float, int]]
    counted_from_s: float
    users: Sequence[User]


def history(day: Day, count: int, *, before_days: float, days: float, seed: int = 1) -> History:
    """So many users' last days before the counting begins, and counted days."""
    begin, end = COUNTED_FROM - before_days, COUNTED_FROM + days
    people = []
    for user in users(replace(day, linger_s=0.0), count, seed):  # so each message stands alone
        assert all(bundle.messages == 1 for bundle in user.bundles)
        bundles = [bundle for bundle in user.bundles if begin <= bundle.written < end]
        came = [at for at in user.returns if begin <= at < end]
        people.append(User(user.returns_per_day, bundles, came))
    sent = sorted(
        Sent((b.written - begin) * DAY_S, n, b.size - ITEM_BYTES - MESSAGE_BYTES)
        for n, user in enumerate(people)
        for b in user.bundles
    )
    returns: list[tuple[float, int]] = []
    for n, user in enumerate(people):
        returns += [((at - begin) * DAY_S, n) for at in user.returns]
    return History(sent, sorted(returns), before_days * DAY_S, people)


def limited(partition: Partition, sent: Iterable[Sent]) -> Partition:
    """The partition, its batches within the worker's limit in bytes, too, of the mean record."""
    sizes = [one.body_bytes + len(user_key(one.user)) for one in sent]
    fitting = int(BatchLimits().bytes_max * len(sizes) / sum(sizes))
    return replace(partition, records_max=min(partition.records_max, fitting))


def user_key(user: int) -> bytes:
    """Of 16 bytes."""
    return b"user-%011d" % user


@dataclass(slots=True)
class Played:
    """What a day came to. waits_s: from a message's arrival until it was durable."""

    counted: Counted
    messages: int
    waits_s: list[float] = field(default_factory=list)

    def per_thousand(self, units: float) -> float:
        return 1000 * units / self.messages

    def wait_s(self, percent: int) -> float:
        return quantiles(self.waits_s, n=100, method="inclusive")[percent - 1]


class Office:
    """The worker's flush and a gateway's mailboxes, over one counted table."""

    def __init__(self, limits: BundleLimits | None = None) -> None:
        self.table = CountedTable()
        store = Store(self.table)
        self.flusher = Flusher(
            topic=TOPIC, decoder=CloudEventsDecoder(timedelta(days=RETENTION_DAYS)),
            limits=limits or BundleLimits(), mailboxes=DynamoDBWriter(store, TABLE),
            dead_letters=NoDeadLetters(), dead_letters_consecutive_max=1_000,
        )  # fmt: skip
        self.progress = DynamoDBProgress(store, TABLE, TOPIC)
        self.mailboxes = self.gateway()

    def gateway(self) -> Mailboxes:
        """Another one: what the one before has read ahead, it has not."""
        return Mailboxes(self.table, table=TABLE, clock=lambda: self.table.now_s)

    async def open(self) -> None:
        await self.table.put_item(TableName=TABLE, Item=RECORD.encode())

    async def flush(self, records: Sequence[ConsumerRecord]) -> None:
        await self.flusher.flush(records, epoch=RECORD.epoch, dead_in_a_row=0)

    async def call_for(self, user: str, limit: int | None = None) -> None:
        """A user comes back: all that waits, page by page, each acknowledged."""
        more = True
        while more:
            page = await self.mailboxes.fetch(user, limit=limit)
            await self.mailboxes.ack(user, page.receipt)
            more = page.more

    async def progress_units(self) -> float:
        """Write units of one progress."""
        old = Progress(table_id=RECORD.table_id, epoch=1, next=0, origin=0, written_at_ms=0)
        stored = await self.progress.create(0, old)
        before = replace(self.table.counted)
        await self.progress.advance(0, stored, replace(stored, next=5_000, group=0))
        return self.table.counted.since(before).progress_units


async def play(past: History, partition: Partition, limits: BundleLimits | None = None) -> Played:
    """The history through one partition, which has other users' records besides."""
    office = Office(limits)
    await office.open()
    one_progress = await office.progress_units()
    office.table.counted = Counted()
    partition = limited(partition, past.sent)
    records = _records(past, partition)
    played = Played(Counted(), sum(one.at_s >= past.counted_from_s for one in past.sent))
    before: Counted | None = None
    for at_s, cut, user in _events(past, partition):
        if before is None and at_s >= past.counted_from_s:
            before = replace(office.table.counted)
        office.table.now_s = BEGIN_S + at_s
        if cut is not None:
            await office.flush(records[cut.first : cut.end])
            played.waits_s += [
                at_s - past.sent[n].at_s for n in range(cut.first, cut.end)
                if past.sent[n].at_s >= past.counted_from_s
            ]  # fmt: skip
        else:
            await office.call_for(user_key(user).decode())
    played.counted = office.table.counted.since(before or Counted())
    ticks = _progress_per_message(past, partition) * played.messages
    played.counted.progress_units = one_progress * ticks
    return played


def _records(past: History, partition: Partition) -> list[ConsumerRecord]:
    places = offsets([one.at_s for one in past.sent], partition)
    return [
        ConsumerRecord(
            topic=TOPIC, partition=0, offset=offset, timestamp=int((BEGIN_S + one.at_s) * 1000),
            timestamp_type=0, key=user_key(one.user), value=b"x" * one.body_bytes, checksum=None,
            serialized_key_size=0, serialized_value_size=0, headers=(),
        )
        for offset, one in zip(places, past.sent, strict=True)
    ]  # fmt: skip


def _events(past: History, partition: Partition) -> Iterator[tuple[float, Cut | None, int]]:
    """Flushes that are durable, and users who return, in the order of time."""
    arrivals = [one.at_s for one in past.sent]
    found: list[tuple[float, Cut | None, int]] = [
        (cut.at_s + partition.flush_s, cut, -1) for cut in cuts(arrivals, partition, Random(1))
    ]
    found += [(at_s, None, user) for at_s, user in past.returns]
    return iter(sorted(found, key=lambda event: event[0]))


def _progress_per_message(past: History, partition: Partition) -> float:
    if not partition.per_s:
        ticks = {
            int((cut.at_s + partition.flush_s) / COMMIT_INTERVAL_S)
            for cut in cuts([one.at_s for one in past.sent], partition, Random(1))
        }
        return len(ticks) / len(past.sent)
    return ticks_per_s(partition, COMMIT_INTERVAL_S) / partition.per_s


def item_per_message(past: History) -> Played:
    """What the usual table pays for the same messages: a put, and a delete once it was fetched."""
    played = Played(Counted(), sum(one.at_s >= past.counted_from_s for one in past.sent))
    counted = played.counted
    waiting: list[list[tuple[float, int]]] = [[] for _ in past.users]
    coming = iter(past.sent)
    one = next(coming, None)
    for at_s, user in past.returns:
        while one is not None and one.at_s <= at_s:
            size = item_bytes(lean_item(one))
            waiting[one.user].append((one.at_s, size))
            if one.at_s >= past.counted_from_s:
                counted.bundles += 1
                counted.bundle_units += write_units(size)
            one = next(coming, None)
        there = [
            (since, size) for since, size in waiting[user]
            if at_s - since < (RETENTION_DAYS + TTL_LAG_DAYS) * DAY_S
        ]  # fmt: skip
        waiting[user] = []
        if at_s >= past.counted_from_s:
            read = sum(size for _, size in there)
            counted.queries += 1
            counted.read_bytes += read
            counted.read_units += max(1, ceil(read / READ_UNIT_BYTES))
            counted.delete_units += sum(write_units(size) for _, size in there)
    while one is not None:  # nobody has returned since
        if one.at_s >= past.counted_from_s:
            counted.bundles += 1
            counted.bundle_units += write_units(item_bytes(lean_item(one)))
        one = next(coming, None)
    return played


def lean_item(one: Sent) -> dict[str, dict[str, object]]:
    """The usual item: two keys, body, expiry; no id, no time."""
    return {
        "user_id": {"S": user_key(one.user).decode()}, "sort": {"S": "0" * 20},
        "body": {"B": b"x" * one.body_bytes}, "expires_at": {"N": "1769860800"},
    }  # fmt: skip
