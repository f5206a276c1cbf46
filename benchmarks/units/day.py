"""The realistic day, by the real pieces: flushed, fetched and acknowledged, every unit counted.

The users are those of `benchmarks.users`, message by message. `flush_boundaries` says which of
their messages one flush has; the worker's Flusher writes them (decoded, packed, encoded) once,
and each way of reading is played on what it wrote: at each return a gateway's Mailboxes fetches
all that waits. Time is virtual: nothing sleeps, and every figure is a function of the seed.

Mailboxes are as full as after a retention period. Of the returns before the counted days the last
one of each user is played, since it leaves what all of them would leave.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from statistics import quantiles
from typing import NamedTuple

from aiokafka.structs import ConsumerRecord

from benchmarks.loads import TOPIC
from benchmarks.units.flush_boundaries import Partition, cuts, offsets, ticks_per_s
from benchmarks.units.table import TABLE, TTL_LAG_S, Counted, CountedTable
from benchmarks.users import DAY_S, Day, Way, users
from benchmarks.write_path import flusher
from poste_restante.item import Item
from poste_restante.mailboxes import Mailboxes
from poste_restante.table import TableRecord
from tests.store_client import store_on
from worker.assignment import BatchLimits
from worker.dynamodb.batch_write import DynamoDBWriter
from worker.dynamodb.progress_store import DynamoDBProgress
from worker.progress import Progress

#: The worker's default.
RETENTION_DAYS = 30.0
#: Days of a history before the counted ones begin: the longest retention, and TTL's lag.
COUNTED_FROM_DAY = 45.0
#: Seconds between two commits, the worker's default: progress is written that often.
COMMIT_INTERVAL_S = 5.0
#: 2026-01-01T00:00:00Z, epoch seconds: when a history begins.
BEGIN_S = 1_767_225_600.0
RECORD = TableRecord(table_id="table-1", topic=TOPIC, partitions=1, epoch=1)


class Sent(NamedTuple):
    """One message. at_s: seconds since the history's begin."""

    at_s: float
    user: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class History:
    """Users' days. What comes before the counted days fills the mailboxes; what comes behind them
    tells how long a message of the counted days waits."""

    sent: Sequence[Sent]
    returns: Sequence[tuple[float, int]]
    counted_from_s: float
    counted_until_s: float
    users: int

    @property
    def messages(self) -> int:
        return sum(map(self.counts, (one.at_s for one in self.sent)))

    def counts(self, at_s: float) -> bool:
        return self.counted_from_s <= at_s < self.counted_until_s


def history(
    day: Day, count: int, *, days: float, before_days: float = RETENTION_DAYS + 2, seed: int = 1
) -> History:
    """So many users' counted days, and messages of `before_days` before them."""
    begin = COUNTED_FROM_DAY - before_days
    people = list(users(day, count, seed))
    sent = sorted(
        Sent((at - begin) * DAY_S, n, body)
        for n, user in enumerate(people)
        for at, body in user.messages
        if begin <= at < COUNTED_FROM_DAY + days
    )
    returns = sorted(
        ((at - begin) * DAY_S, n) for n, user in enumerate(people) for at in user.returns
        if at >= begin
    )  # fmt: skip
    return History(sent, returns, before_days * DAY_S, (before_days + days) * DAY_S, count)


def limited(partition: Partition, sent: Iterable[Sent]) -> Partition:
    """The partition, its batches within the worker's limit in bytes, too, of the mean record."""
    sizes = [one.body_bytes + len(user_key(one.user)) for one in sent]
    fitting = int(BatchLimits().bytes_max * len(sizes) / sum(sizes))
    return replace(partition, records_max=min(partition.records_max, fitting))


def user_key(user: int) -> bytes:
    """Of 16 bytes."""
    return b"user-%011d" % user


class Pipeline:
    """The worker's flush and a gateway's mailboxes, over one counted table."""

    def __init__(
        self, table: CountedTable, *, retention_days: float = RETENTION_DAYS, deletes: bool = False
    ) -> None:
        self.table = table
        store = store_on(self.table)
        self.flusher = flusher(DynamoDBWriter(store, TABLE), timedelta(days=retention_days))
        self.progress = DynamoDBProgress(store, TABLE, TOPIC)
        self.mailboxes = Mailboxes(
            self.table, table=TABLE, clock=lambda: self.table.now_s, delete_acknowledged=deletes
        )
        self._receipts: dict[str, str] = {}

    async def open(self) -> None:
        await self.table.put_item(TableName=TABLE, Item=RECORD.encode())

    async def flush(self, records: Sequence[ConsumerRecord]) -> None:
        await self.flusher.flush(records, epoch=RECORD.epoch, consecutive_dead_letters=0)

    async def call_for(self, user: str, *, limit: int | None = None, acks: bool = True) -> None:
        """A user comes back and gets all that waits, page by page. acks: each is acknowledged;
        else the user keeps the last receipt for the next time."""
        kept = None if acks else self._receipts.get(user)
        page = await self.mailboxes.fetch(user, limit=limit, since=kept)
        while acks:
            await self.mailboxes.ack(user, page.receipt)
            if not page.more:
                return
            page = await self.mailboxes.fetch(user, limit=limit)
        while page.more:
            page = await self.mailboxes.fetch(user, limit=limit, after=page.receipt)
        if page.receipt is not None:
            self._receipts[user] = page.receipt

    async def progress_units(self) -> float:
        """Write units of one progress."""
        old = Progress(table_id=RECORD.table_id, epoch=1, next=0, origin=0, written_at_ms=0)
        stored = await self.progress.create(0, old)
        before = replace(self.table.counted)
        await self.progress.advance(0, stored, replace(stored, next=5_000, group=0))
        return self.table.counted.since(before).progress_units


@dataclass(slots=True)
class Written:
    """What the flushes of a history put, and when. waits_s: of the counted messages, from arrival
    until durable. progress_units: of a message."""

    retention_days: float
    puts: list[tuple[float, list[Item]]]
    waits_s: list[float]
    progress_units: float

    def wait_s(self, percent: int) -> float:
        return quantiles(self.waits_s, n=100, method="inclusive")[percent - 1]


class _Catching(CountedTable):
    """Keeps aside what is put."""

    def __init__(self) -> None:
        super().__init__()
        self.caught: list[Item] = []

    def put(self, item: Item) -> None:
        self.caught.append(item)


async def written(
    past: History, partition: Partition, *, retention_days: float = RETENTION_DAYS
) -> Written:
    """The history through one partition, which has other users' records besides."""
    table = _Catching()
    pipeline = Pipeline(table, retention_days=retention_days)
    one_progress = await pipeline.progress_units()
    partition = limited(partition, past.sent)
    records = list(_records(past, partition))
    found = Written(retention_days, [], [], 0.0)
    for cut in cuts([one.at_s for one in past.sent], partition, Random(1)):
        durable_s = cut.at_s + partition.flush_s
        table.caught.clear()
        await pipeline.flush(records[cut.first : cut.end])
        found.puts.append((durable_s, list(table.caught)))
        found.waits_s += [
            durable_s - past.sent[n].at_s
            for n in range(cut.first, cut.end) if past.counts(past.sent[n].at_s)
        ]  # fmt: skip
    found.progress_units = one_progress * _progress_per_message(partition)
    return found


def _records(past: History, partition: Partition) -> Iterator[ConsumerRecord]:
    places = offsets([one.at_s for one in past.sent], partition)
    for offset, one in zip(places, past.sent, strict=True):
        yield ConsumerRecord(
            topic=TOPIC, partition=0, offset=offset,
            timestamp=int((BEGIN_S + one.at_s) * 1000), timestamp_type=0, key=user_key(one.user),
            value=b"x" * one.body_bytes, checksum=None, serialized_key_size=0,
            serialized_value_size=0, headers=(),
        )  # fmt: skip


def _progress_per_message(partition: Partition) -> float:
    return ticks_per_s(partition, COMMIT_INTERVAL_S) / partition.per_s


@dataclass(slots=True)
class Played:
    """What the counted days came to."""

    counted: Counted
    messages: int
    returns: int


async def play(past: History, flushed: Written, way: Way = Way.ACKNOWLEDGE) -> Played:
    """The users come back, each in this way."""
    table = CountedTable()
    table.charges_storage = False
    pipeline = Pipeline(table, deletes=way is Way.DELETE)
    await pipeline.open()
    at_begin = at_end = Counted()
    for at_s, items, user in _events(past, flushed, way):
        table.now_s = BEGIN_S + at_s
        if items is None and user is None:  # the counted days begin, or end
            at_begin, at_end = at_end, replace(table.counted)
            table.charges_storage = at_s < past.counted_until_s
        elif items is not None:
            for item in items:
                table.put(item)
        else:
            assert user is not None
            name = user_key(user).decode()
            await pipeline.call_for(name, acks=way is not Way.KEEP_RECEIPT)
            while way is Way.DELETE and at_s < past.counted_from_s:
                if not await pipeline.mailboxes.tidy(
                    name
                ):  # what earlier returns would have deleted
                    break
    counted = at_end.since(at_begin)
    counted.stored_byte_s = table.counted.stored_byte_s - at_begin.stored_byte_s
    messages = past.messages
    counted.progress_units = flushed.progress_units * messages
    return Played(counted, messages, sum(past.counts(at_s) for at_s, _ in past.returns))


def _events(
    past: History, flushed: Written, way: Way
) -> list[tuple[float, list[Item] | None, int | None]]:
    """Bundles that are durable, users who return, and the two ends of the counted days."""
    last: dict[int, float] = {}
    found: list[tuple[float, list[Item] | None, int | None]] = []
    until_s = past.counted_until_s
    if way is Way.DELETE:  # how long the last ones are stored is seen only then
        until_s += flushed.retention_days * DAY_S + TTL_LAG_S
    for at_s, user in past.returns:
        if at_s < past.counted_from_s:
            last[user] = at_s
        elif at_s < until_s:
            found.append((at_s, None, user))
    found += [(at_s, None, user) for user, at_s in last.items()]
    found += [(at_s, items, None) for at_s, items in flushed.puts]
    found += [(past.counted_from_s, None, None), (past.counted_until_s, None, None)]
    return sorted(found, key=lambda event: event[0])
