"""What a user pays for DynamoDB, counted and never timed.

    day               the realistic day by the real pieces, and each way to read it
    rivals            an item per message, deleted or left to TTL
    flush_boundaries  which records one flush has
    table             a table in memory that charges by DynamoDB's rules

What the figures say: benchmarks/README.md, "Units".
"""

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.capacity_inputs import Prices
from benchmarks.loads import Batch, batches, skewed
from benchmarks.md_tables import seconds, size
from benchmarks.report import Found, Table
from benchmarks.units.day import RETENTION_DAYS, Pipeline, Played, history, play, written
from benchmarks.units.flush_boundaries import Partition
from benchmarks.units.rivals import Rival, play_rival
from benchmarks.units.table import Counted, CountedTable
from benchmarks.users import DAY_S, Day, Way
from poste_restante.item import write_units
from worker.assignment import BatchLimits

SOFTWARE: Sequence[str] = ()
#: Records a second of a partition: what the default service of docs/capacity.md has in the mean.
PER_S = 100.0
#: The median body of the realistic day.
BODY = 300
#: Messages of the page that a backlog is read in.
PAGE = 100


@dataclass(frozen=True, slots=True)
class Size:
    """users: of the day. days: that are counted."""

    users: int = 48
    days: float = 4.0
    before_days: float = RETENTION_DAYS + 2
    lingers_s: tuple[float, ...] = (0.0, 0.25, 1.0, 5.0, 15.0, 30.0, 60.0)
    #: By body and by retention.
    few_lingers_s: tuple[float, ...] = (0.0, 15.0, 30.0)
    bodies: tuple[int, ...] = (100, BODY, 1_000, 10_000)
    #: Beside the default.
    retentions_days: tuple[float, ...] = (7.0, 14.0)
    backlog: int = 20_000


SMALL = Size(
    users=8, days=2.0, before_days=6.0, lingers_s=(0.0, 15.0, 30.0), bodies=(100, BODY),
    retentions_days=(7.0,), backlog=1_000,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """A day of bodies with this median, kept so long. ratio: dollars against an item per message
    and its delete, of each way, by linger. waits_s: p50 and p99 by linger."""

    body: int
    retention_days: float
    rivals: Mapping[Rival, Mapping[str, float]]
    ways: Mapping[float, Mapping[Way, Mapping[str, float]]]
    waits_s: Mapping[float, tuple[float, float]]

    @property
    def usual(self) -> float:
        """Dollars of an item per message and its delete."""
        return self.rivals[Rival.DELETE]["all"]

    def ratio(self, linger_s: float, way: Way) -> float:
        return self.ways[linger_s][way]["all"] / self.usual


def measure(*, small: bool) -> Found:
    """See `report.Part`."""
    sizes = SMALL if small else Size()
    by_body = [case(sizes, body, RETENTION_DAYS) for body in sizes.bodies]
    (main,) = (one for one in by_body if one.body == BODY)
    named = {f"bodies of {size(one.body)}": one for one in by_body}
    named |= {f"{days:g} days": case(sizes, BODY, days) for days in sizes.retentions_days}
    backlogs = list(backlog_rows(sizes))
    figures = {f"backlog/bodies of {name}": ratio for name, *_, ratio in backlogs}
    for at in (0.0, 15.0, 30.0):
        figures[f"day, linger {at:g}/realistic day"] = main.ratio(at, Way.ACKNOWLEDGE)
        figures[f"day, receipt kept, linger {at:g}/realistic day"] = main.ratio(
            at, Way.KEEP_RECEIPT
        )
    for at in sizes.lingers_s:
        figures[f"messages in a bundle/{at:g}"] = 1000 / main.ways[at][Way.ACKNOWLEDGE]["bundles"]
    figures["acknowledgements/1,000 messages"] = main.ways[0.0][Way.ACKNOWLEDGE]["ack_units"]
    header = ("body", "messages in a bundle", "write units", "an item per message, deleted",
              "ratio")  # fmt: skip
    rows = [
        [name, f"{bundled:.1f}", f"{units:,.0f}", f"{rival:,.0f}", f"{ratio:.2f}"]
        for name, bundled, units, rival, ratio in backlogs
    ]
    tables = {
        "units_linger": linger_table(main),
        "units_cases": compared(sizes, named),
        "units_backlog": Table(header, rows),
    }  # fmt: skip
    return Found(tables, figures)


def case(sizes: Size, body: int, retention_days: float) -> Case:
    """The day played with each linger, read in each way, beside the rivals."""
    print(f"  bodies of {body}, {retention_days:g} days", file=sys.stderr, flush=True)
    past = history(
        Day(body_bytes=float(body)), sizes.users, days=sizes.days, before_days=sizes.before_days
    )
    main = (body, retention_days) == (BODY, RETENTION_DAYS)
    ways: dict[float, dict[Way, dict[str, float]]] = {}
    waits_s: dict[float, tuple[float, float]] = {}
    for at in sizes.lingers_s if main else sizes.few_lingers_s:
        flushed = asyncio.run(
            written(past, Partition(per_s=PER_S, linger_s=at), retention_days=retention_days)
        )
        ways[at] = {way: costs(asyncio.run(play(past, flushed, way))) for way in Way}
        waits_s[at] = flushed.wait_s(50), flushed.wait_s(99)
    rivals = {rival: costs(play_rival(past, rival, retention_days)) for rival in Rival}
    return Case(body, retention_days, rivals, ways, waits_s)


def costs(played: Played, prices: Prices | None = None) -> dict[str, float]:
    """Dollars of a million messages by list price, in their parts and in all, and the units of
    1,000 messages."""
    prices = prices or Prices()
    counted, n = played.counted, played.messages
    gb_months = counted.stored_byte_s / n * 1e6 / (30 * DAY_S) / 1e9
    dollars = {
        "write": counted.write_units / n * prices.million_write_units,
        "read": counted.read_units / n * prices.million_read_units,
        "store": gb_months * prices.storage_gb_month,
    }
    units = {
        name: 1000 * getattr(counted, name) / n
        for name in ("bundles", "ack_units", "write_units", "read_units")
    }
    return {**dollars, "all": sum(dollars.values()), **units}


def linger_table(main: Case) -> Table:
    """The day with each linger: what is paid, and when a message is there."""
    rows = []
    for at, ways in main.ways.items():
        one = ways[Way.ACKNOWLEDGE]
        rows.append([
            f"{at:g}", f"{1000 / one['bundles']:.2f}", *_parts(one),
            *(f"**{main.ratio(at, way):.2f}**" for way in Way), *map(seconds, main.waits_s[at]),
        ])  # fmt: skip
    for rival, one in main.rivals.items():
        ratio = f"**{one['all'] / main.usual:.2f}**"
        rows.append([str(rival), "", *_parts(one), ratio, "", "", "", ""])
    header = ["linger, s", "messages in a bundle", "write units", "read units", "$: writing",
              "reading", "storing", "all", "ratio", "clients keep their receipt",
              "`delete_acknowledged`", "wait p50", "wait p99"]  # fmt: skip
    return Table(header, rows)


def _parts(one: Mapping[str, float]) -> list[str]:
    units = [f"{one[name]:,.0f}" for name in ("write_units", "read_units")]
    return units + [f"{one[name]:.3f}" for name in ("write", "read", "store", "all")]


def compared(sizes: Size, cases: Mapping[str, Case]) -> Table:
    """The ratio of each case: each way with a few lingers, and the rivals."""
    few = sizes.few_lingers_s
    said = {Way.ACKNOWLEDGE: "", Way.KEEP_RECEIPT: "receipt kept, "}
    rows = [
        [
            name, *(f"{one.ratio(at, way):.2f}" for way in said for at in few),
            *(f"{one.rivals[rival]['all'] / one.usual:.2f}"
              for rival in (Rival.CURSOR, Rival.CLIENT_CURSOR)),
            f"{one.usual:.3f}",
        ]
        for name, one in cases.items()
    ]  # fmt: skip
    header = ["30 days, or bodies of 300 bytes",
              *(f"{name}linger {at:g} s" for name in said.values() for at in few),
              "item per message to TTL, cursor", "its client keeps the cursor",
              "item per message, deleted: $"]  # fmt: skip
    return Table(header, rows)


def backlog_rows(sizes: Size) -> Iterator[tuple[str, float, float, float, float]]:
    """The skewed backlog in full batches, read in pages and acknowledged, by body: messages in a
    bundle, write units of 1,000 messages, those of an item per message and its delete, ratio."""
    for body in sizes.bodies:
        per_batch = min(BatchLimits().records_max, BatchLimits().bytes_max // (body + 15))
        records = min(sizes.backlog, 4 * per_batch)
        load = [
            batch[n : n + per_batch]
            for batch in batches(skewed(records), body) for n in range(0, len(batch), per_batch)
        ]  # fmt: skip
        counted = asyncio.run(drained(load, PAGE))
        units = counted.write_units * 1000 / records
        rival = 2_000.0 * write_units(lean_bytes(body))
        yield size(body), records / counted.bundles, units, rival, units / rival


def lean_bytes(body: int) -> int:
    """Bytes of an item per message: two keys, body, expiry, with their names."""
    return len("user_id") + 15 + len("sort") + 20 + len("body") + body + len("expires_at") + 6


async def drained(load: Sequence[Batch], page: int) -> Counted:
    """A backlog written, read in pages of so many messages and acknowledged. Progress counts once
    for each partition, whose few batches are written within one commit interval."""
    pipeline = Pipeline(CountedTable())
    await pipeline.open()
    one_progress = await pipeline.progress_units()
    pipeline.table.counted = Counted()
    messages: dict[str, int] = {}
    for batch in load:
        await pipeline.flush(batch)
        for record in batch:
            user = record.key.decode()
            messages[user] = messages.get(user, 0) + 1
    pipeline.table.now_s = load[-1][-1].timestamp / 1000
    for user in sorted(messages, key=lambda user: -messages[user]):
        await pipeline.call_for(user, limit=page)
    counted = replace(pipeline.table.counted)
    counted.progress_units = one_progress * len({batch[0].partition for batch in load})
    return counted
