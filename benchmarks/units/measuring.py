"""Everything that the part counts, and how much of it: full, or small."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.capacity_inputs import Prices
from benchmarks.units.backlog import drained, with_bodies
from benchmarks.units.borders import Partition
from benchmarks.units.catch_up import PARTITIONS, Load, catch_up
from benchmarks.units.day import RETENTION_DAYS, History, Played, Written, history, play
from benchmarks.units.day import written as flushed
from benchmarks.units.rivals import Rival, play_rival
from benchmarks.users import DAY_S, Day, Way
from benchmarks.workloads import Batch, one_hot_user, skewed
from poste_restante import scan
from poste_restante.item import write_units
from worker.lives import BatchLimits

#: Records a second of a partition: what the default service of docs/capacity.md has in the mean.
PER_S = 100.0
#: The median body of the realistic day.
BODY = 300
#: Messages of the page that a backlog is called for in.
PAGE = 100
#: Days ago that a partition was added, where there are two: the old one still has leftovers.
ADDED_DAYS = 5.0
#: Messages of the hot user and bytes of a body: each bundle is full at 64 KiB.
HOT_MESSAGES, HOT_BODY = 6_000, 1_000


@dataclass(frozen=True, slots=True)
class Size:
    """users: of a day with bursts of 3 messages. days: that are counted."""

    users: int = 48
    days: float = 4.0
    before_days: float = RETENTION_DAYS + 2
    #: Of the users' days; all but one table are of the first.
    seeds: tuple[int, ...] = (1, 2, 3)
    lingers_s: tuple[float, ...] = (0.0, 0.25, 1.0, 5.0, 15.0, 30.0, 60.0)
    #: Where not the linger is looked at.
    few_lingers_s: tuple[float, ...] = (0.0, 15.0, 30.0)
    bodies: tuple[int, ...] = (100, BODY, 1_000, 10_000)
    retentions_days: tuple[float, ...] = (7.0, 14.0, RETENTION_DAYS)
    scales: tuple[float, ...] = (10.0, 100.0, 500.0, 3_000.0)
    first_items: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    leftover_items: tuple[int, ...] = (1, 2, 4, 8, 16)
    backlog: int = 20_000
    load: Load = field(default_factory=Load)

    def past(self, body: int = BODY, seed: int | None = None) -> History:
        return history(
            Day(body_bytes=float(body)), self.users, days=self.days, before_days=self.before_days,
            seed=self.seeds[0] if seed is None else seed,
        )  # fmt: skip


SMALL = Size(
    users=8, days=2.0, before_days=6.0, seeds=(1, 2), lingers_s=(0.0, 30.0),
    few_lingers_s=(0.0, 30.0), bodies=(100, BODY), retentions_days=(7.0, RETENTION_DAYS),
    scales=(100.0,), first_items=(2, 3), leftover_items=(4, 16), backlog=1_000,
    load=Load(backlog=1_000),
)  # fmt: skip


def measure(*, small: bool) -> dict[str, Any]:
    """Raises RuntimeError where the services cannot be had."""
    size = SMALL if small else Size()
    found: dict[str, Any] = {"per_s": PER_S, "users": size.users}
    parts: dict[str, Callable[[Size], Any]] = {
        "day": days, "rivals": rivals, "seeds": seeds, "scale": scales,
        "first_items": first_items, "leftover_items": leftover_items, "backlog": backlogs,
        "catch_up": caught_up,
    }  # fmt: skip
    for name, part in parts.items():
        print(f"units: {name}", file=sys.stderr, flush=True)
        counted = part(size)
        found[name] = counted if isinstance(counted, dict) else list(counted)
    return found


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
        for name in ("bundles", "bundle_units", "ack_units", "delete_units", "progress_units",
                     "write_units", "read_units")
    }  # fmt: skip
    return {
        **dollars, "all": sum(dollars.values()), **units,
        "queries_per_return": counted.queries / played.returns,
        "again_bytes_per_return": counted.again_bytes / played.returns,
    }  # fmt: skip


def _flushed(past: History, partition: Partition, **more: Any) -> Written:
    return asyncio.run(flushed(past, partition, **more))


def _played(past: History, written: Written, way: Way) -> dict[str, float]:
    return costs(asyncio.run(play(past, written, way)))


def _cases(size: Size) -> Iterator[tuple[int, float, tuple[float, ...]]]:
    """Bodies at the default retention, and retentions at the median body, with lingers."""
    for body in size.bodies:
        yield body, RETENTION_DAYS, size.lingers_s if body == BODY else size.few_lingers_s
    for retention in size.retentions_days:
        if retention != RETENTION_DAYS:
            yield BODY, retention, size.few_lingers_s


def days(size: Size) -> Iterator[dict[str, Any]]:
    """Each case, read in each way."""
    for body, retention, lingers in _cases(size):
        past = size.past(body)
        for linger_s in lingers:
            partition = Partition(per_s=PER_S, linger_s=linger_s)
            written = _flushed(past, partition, retention_days=retention)
            yield {
                "body": body, "retention_days": retention, "linger_s": linger_s,
                "wait_s_p50": written.wait_s(50), "wait_s_p99": written.wait_s(99),
                **{way.name: _played(past, written, way) for way in Way},
            }  # fmt: skip


def rivals(size: Size) -> Iterator[dict[str, Any]]:
    """The same messages, an item each."""
    for body, retention, _ in _cases(size):
        past = size.past(body)
        yield {
            "body": body, "retention_days": retention, "messages": past.messages,
            **{rival.name: costs(play_rival(past, rival, retention)) for rival in Rival},
        }  # fmt: skip


def seeds(size: Size) -> Iterator[dict[str, Any]]:
    """The day of other users, made alike."""
    for seed in size.seeds:
        past = size.past(seed=seed)
        usual = costs(play_rival(past, Rival.DELETE))["all"]
        behind = costs(play_rival(past, Rival.CURSOR))["all"] / usual
        found: dict[str, Any] = {"seed": seed, "messages": past.messages, "CURSOR": behind}
        for linger_s in size.few_lingers_s:
            written = _flushed(past, Partition(per_s=PER_S, linger_s=linger_s))
            for way in (Way.ACKNOWLEDGE, Way.KEEP_RECEIPT):
                found[f"{way.name}_{linger_s:g}"] = _played(past, written, way)["all"] / usual
        yield found


def scales(size: Size) -> Iterator[dict[str, float]]:
    """Partitions with more and fewer records of others."""
    past = size.past()
    usual = costs(play_rival(past, Rival.DELETE))["all"]
    for per_s in size.scales:
        for linger_s in (0.0, 30.0):
            written = _flushed(past, Partition(per_s=per_s, linger_s=linger_s))
            found = _played(past, written, Way.ACKNOWLEDGE)
            yield {"per_s": per_s, "linger_s": linger_s, **found, "ratio": found["all"] / usual}


def first_items(size: Size) -> Iterator[dict[str, Any]]:
    """`scan.FIRST_ITEMS`, on the day, on large bodies, and on a mailbox of full bundles."""
    loads = {}
    for name, body in (("day", BODY), ("large", 10_000)):
        past = size.past(body)
        written = _flushed(past, Partition(per_s=PER_S, linger_s=15.0))
        loads[name] = past, written, costs(play_rival(past, Rival.DELETE))["all"]
    for items in size.first_items:
        found: dict[str, Any] = {"items": items}
        with patch.object(scan, "FIRST_ITEMS", items):
            for name, (of, written, usual) in loads.items():
                found[name] = one = _played(of, written, Way.ACKNOWLEDGE)
                one["ratio"] = one["all"] / usual
            past, written, usual = loads["day"]
            found["deleting"] = one = _played(past, written, Way.DELETE)
            one["ratio"] = one["all"] / usual
            found["full"] = asyncio.run(_full_bundles())
        yield found


async def _full_bundles() -> dict[str, float]:
    """What a return reads of a mailbox of full bundles, all of them acknowledged."""
    full = await drained(with_bodies(one_hot_user(HOT_MESSAGES), HOT_BODY), PAGE)
    return await full.one_more()


def leftover_items(size: Size) -> Iterator[dict[str, Any]]:
    """`scan.LEFTOVER_ITEMS`, on mailboxes with mail of two partitions: a new one's keys stand
    behind the old one's, or in front of them."""
    past = size.past()
    usual = costs(play_rival(past, Rival.DELETE))["all"]
    added_at_s = past.counted_from_s - min(ADDED_DAYS, size.before_days / 2) * DAY_S
    by_order = {
        name: _flushed(past, Partition(per_s=PER_S), added_at_s=added_at_s, added_first=first)
        for name, first in (("last", False), ("first", True))
    }
    for items in size.leftover_items:
        found: dict[str, Any] = {"items": items}
        with patch.object(scan, "LEFTOVER_ITEMS", items):
            for name, written in by_order.items():
                found[name] = one = _played(past, written, Way.ACKNOWLEDGE)
                one["ratio"] = one["all"] / usual
        yield found


def backlogs(size: Size) -> Iterator[dict[str, float]]:
    """The skewed backlog in full batches, called for in pages and acknowledged. Write units."""
    for body in size.bodies:
        per_batch = min(BatchLimits().records_max, BatchLimits().bytes_max // (body + 15))
        records = min(size.backlog, 4 * per_batch)
        batches = _cut(with_bodies(skewed(records), body), per_batch)
        counted = asyncio.run(drained(batches, PAGE)).counted
        per = 1000 / records
        rival = 2_000 * write_units(lean_bytes(body))
        yield {
            "body": body, "records": records, "bundles": counted.bundles * per,
            "write_units": counted.write_units * per, "rival_write_units": rival,
            "ratio": counted.write_units * per / rival,
        }  # fmt: skip


def lean_bytes(body: int) -> int:
    """Of an item per message: two keys, body, expiry, with their names."""
    return len("user_id") + 15 + len("sort") + 20 + len("body") + body + len("expires_at") + 6


def _cut(batches: Sequence[Batch], records_max: int) -> list[Batch]:
    return [batch[n : n + records_max] for batch in batches
            for n in range(0, len(batch), records_max)]  # fmt: skip


def caught_up(size: Size) -> dict[str, Any]:
    """A worker without a budget, then one with it. Raises RuntimeError without services."""
    from tests.endpoint.throttling import ThrottlingEndpoint
    from tests.scene import Scene, scene_environment
    from tests.services import DYNAMODB_ADDRESS, start_services

    with start_services() as services, tempfile.TemporaryDirectory() as directory:
        environment = {**services.environment}
        with ThrottlingEndpoint(services.endpoint) as endpoint, patch.dict(os.environ, environment):
            scene = Scene(
                environment=scene_environment(
                    services.environment, topic="undelivered-units", table="mailboxes-units",
                    group="group-units",
                ),
                directory=Path(directory), tool=lambda *_: "", topic="undelivered-units",
                table="mailboxes-units", group="group-units",
            )  # fmt: skip
            scene.init(PARTITIONS)
            scene.environment[DYNAMODB_ADDRESS] = endpoint.url
            try:
                return asyncio.run(_both(scene, endpoint, size.load))
            finally:
                scene.end()


async def _both(scene: Any, endpoint: Any, load: Load) -> dict[str, Any]:
    found: dict[str, Any] = {"load": {name: getattr(load, name) for name in load.__slots__}}
    for run, budget in (("without", False), ("with", True)):
        try:
            one = await catch_up(scene, endpoint, load, budget=budget, run=run)
        except AssertionError as error:  # a scene's way to say that something did not happen
            raise RuntimeError(f"catch up, {run} a budget: {error}") from error
        found[run] = {name: getattr(one, name) for name in one.__slots__}
    return found


__all__ = ["PER_S", "SMALL", "Size", "measure"]
