"""Everything that the part counts, and how much of it: full, or small."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.deletion import Day
from benchmarks.units.borders import Partition
from benchmarks.units.catch_up import PARTITIONS, Load, catch_up
from benchmarks.units.day import History, Played, history, item_per_message, play
from benchmarks.units.limits import drained, with_bodies
from benchmarks.units.policies import policies
from benchmarks.workloads import Batch, one_hot_user, skewed
from poste_restante.item import write_units
from worker.bundles import BundleLimits
from worker.lives import BatchLimits

#: Records a second of a partition: what the default service of docs/capacity.md has in the mean.
PER_S = 100.0
#: Messages of the page that a backlog is called for in, and of a small one.
PAGE, SMALL_PAGE = 100, 20
LIMITS = ((10, 64), (30, 64), (100, 16), (100, 64), (100, 350), (300, 350), (1000, 350))


@dataclass(frozen=True, slots=True)
class Size:
    """users: of a day with bursts of 3 messages. before_days: that fill the mailboxes."""

    users: int = 48
    before_days: float = 6.0
    days: float = 4.0
    #: Of the users' days; all but one table are of the first.
    seeds: tuple[int, ...] = (1, 2, 3)
    seeds_lingers_s: tuple[float, ...] = (0.0, 30.0)
    lingers_s: tuple[float, ...] = (0.0, 1.0, 5.0, 15.0, 30.0, 60.0)
    bodies: tuple[int, ...] = (100, 300, 1_000, 10_000)
    scales: tuple[float, ...] = (1.0, 10.0, 100.0, 500.0, 3_000.0)
    #: Messages of a burst and seconds between them, both in the mean.
    bursts: tuple[tuple[float, float], ...] = (
        (3.0, 10.0), (3.0, 1.0), (6.0, 3.0), (12.0, 3.0), (12.0, 1.0)
    )  # fmt: skip
    backlog: int = 20_000
    limits: tuple[tuple[int, int], ...] = LIMITS
    limits_backlog: int = 6_000
    hot_messages: int = 1_500
    policy_users: int = 60
    load: Load = field(default_factory=Load)

    def past(self, day: Day, share: float = 1.0, seed: int | None = None) -> History:
        return history(
            day, max(4, round(self.users * share)), before_days=self.before_days, days=self.days,
            seed=self.seeds[0] if seed is None else seed,
        )  # fmt: skip


SMALL = Size(
    users=8, before_days=2.0, days=2.0, lingers_s=(0.0, 30.0), bodies=(100, 300), scales=(100.0,),
    bursts=((3.0, 10.0), (6.0, 1.0)), backlog=1_000, limits=((10, 64), (100, 64)),
    limits_backlog=600, hot_messages=300, policy_users=4, load=Load(backlog=1_000),
)  # fmt: skip


def measure(*, small: bool) -> dict[str, Any]:
    """Raises RuntimeError where the services cannot be had."""
    size = SMALL if small else Size()
    return {
        "per_s": PER_S,
        "users": size.users,
        "linger": _said("linger", list(linger_curve(size))),
        "seeds": _said("seeds", list(seeds(size))),
        "scale": _said("scale", list(scales(size))),
        "bursts": _said("bursts", list(bursts(size))),
        "backlog": _said("backlog", list(backlogs(size))),
        "limits": _said("limits", list(limits(size))),
        "policies": _said("policies", policies(Partition(per_s=PER_S, linger_s=30.0),
                                               size.policy_users)),
        "catch_up": _said("catch up", caught_up(size.load)),
    }  # fmt: skip


def _said(what: str, found: Any) -> Any:
    print(f"units: {what}", file=sys.stderr, flush=True)
    return found


def linger_curve(size: Size) -> Iterator[dict[str, float]]:
    """Each body's median size with each linger."""
    for body in size.bodies:
        past = size.past(Day(body_bytes=float(body)))
        for linger_s in size.lingers_s:
            yield {"body": body, **_figures(past, Partition(per_s=PER_S, linger_s=linger_s))}


def seeds(size: Size) -> Iterator[dict[str, float]]:
    """The day of other users, made alike."""
    for seed in size.seeds:
        past = size.past(Day(), seed=seed)
        messages = sum(one.at_s >= past.counted_from_s for one in past.sent)
        for linger_s in size.seeds_lingers_s:
            figures = _figures(past, Partition(per_s=PER_S, linger_s=linger_s))
            yield {"seed": seed, "messages": messages, **figures}


def scales(size: Size) -> Iterator[dict[str, float]]:
    """Partitions with more and fewer records of others."""
    past = size.past(Day())
    for per_s in size.scales:
        for linger_s, records_max in ((0.0, 5_000), (30.0, 5_000), (30.0, 10_000)):
            partition = Partition(per_s=per_s, linger_s=linger_s, records_max=records_max)
            yield {"records_max": records_max, **_figures(past, partition)}


def bursts(size: Size) -> Iterator[dict[str, float]]:
    """Days whose bursts are longer or closer: from where on the target is met."""
    for messages, gap_s in size.bursts:
        day = Day(burst_messages=messages, burst_gap_s=gap_s)
        past = size.past(day, share=3 / messages)
        partition = Partition(per_s=PER_S, linger_s=30.0)
        yield {"burst_messages": messages, "burst_gap_s": gap_s, **_figures(past, partition)}


def _figures(past: History, partition: Partition) -> dict[str, float]:
    played = asyncio.run(play(past, partition))
    rival = item_per_message(past)
    return {
        "per_s": partition.per_s,
        "linger_s": partition.linger_s,
        **_units(played),
        "rival_write_units": rival.per_thousand(rival.counted.write_units),
        "rival_read_units": rival.per_thousand(rival.counted.read_units),
        "ratio": played.counted.write_units / rival.counted.write_units,
        "wait_s_p50": played.wait_s(50),
        "wait_s_p99": played.wait_s(99),
    }


def _units(played: Played) -> dict[str, float]:
    counted = played.counted
    return {
        name: played.per_thousand(units)
        for name, units in (
            ("bundles", counted.bundles), ("bundle_units", counted.bundle_units),
            ("ack_units", counted.ack_units), ("delete_units", counted.delete_units),
            ("progress_units", counted.progress_units), ("write_units", counted.write_units),
            ("read_units", counted.read_units),
        )
    }  # fmt: skip


def backlogs(size: Size) -> Iterator[dict[str, float]]:
    """The skewed backlog in full batches, called for in pages and acknowledged."""
    for body in size.bodies:
        per_batch = min(BatchLimits().records_max, BatchLimits().bytes_max // (body + 15))
        records = min(size.backlog, 4 * per_batch)
        batches = _cut(with_bodies(skewed(records), body), per_batch)
        found = asyncio.run(drained(batches, BundleLimits(), PAGE)).figures()
        rival = 2_000 * write_units(lean_bytes(body))
        yield {"body": body, "records": records, **found, "rival_write_units": rival,
               "ratio": found["write_units"] / rival}  # fmt: skip


def lean_bytes(body: int) -> int:
    """Of an item per message: two keys, body, expiry, with their names."""
    return len("user_id") + 15 + len("sort") + 20 + len("body") + body + len("expires_at") + 6


def _cut(batches: Sequence[Batch], records_max: int) -> list[Batch]:
    return [batch[n : n + records_max] for batch in batches
            for n in range(0, len(batch), records_max)]  # fmt: skip


def limits(size: Size) -> Iterator[dict[str, Any]]:
    """Each pair of limits on the skewed backlog, on one hot user with bodies of 1 KB, and on the
    day."""
    past = size.past(Day(), share=0.5)
    skew = skewed(size.limits_backlog)
    hot = with_bodies(one_hot_user(size.hot_messages), 1_000)
    for messages_max, kib in size.limits:
        bundle = BundleLimits(messages_max, kib * 1024)
        day = asyncio.run(play(past, Partition(per_s=PER_S, linger_s=30.0), bundle))
        found: dict[str, Any] = {"messages_max": messages_max, "kib_max": kib}
        found["day_write_units"] = day.per_thousand(day.counted.write_units)
        for name, load in (("skewed", skew), ("hot", hot)):
            large = asyncio.run(drained(load, bundle, PAGE)).figures()
            few = asyncio.run(drained(load, bundle, SMALL_PAGE)).figures()
            apart = asyncio.run(drained(load, bundle, PAGE, apart=True)).figures()
            found[name] = {
                "write_units": large["write_units"],
                "read_units": large["read_units"],
                "small_page_read_units": few["read_units"],
                "apart_read_units": apart["read_units"],
                "first_page_bytes": few["first_page_bytes"],
                "wave_bytes": large["wave_bytes"],
            }
        yield found


def caught_up(load: Load) -> dict[str, Any]:
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
                return asyncio.run(_both(scene, endpoint, load))
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
