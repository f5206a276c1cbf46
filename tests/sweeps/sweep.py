"""The loop of every sweep: n = 1, 2, ... until a run meets no fault. Sweeps run side by side."""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from tests.sweeps.report import Case, Report, Run

#: Runs of one sweep: a scenario makes some twenty calls; ten times that is one without an end.
RUNS_MAX = 200
#: Seconds that one run may take; one with two starts, and a machine that is busy, takes ten.
RUN_S_MAX = 120.0

OneRun = Callable[[Case, int], Awaitable[Run]]


@dataclass(frozen=True, slots=True)
class Sweep:
    """A case, and how one run of it is made. last: n ends with this one, which meets it too.
    seconds_max: of one run."""

    case: Case
    run: OneRun
    last: int | None = None
    seconds_max: float = RUN_S_MAX


async def run_all(sweeps: Iterable[Sweep], report: Report, *, at_a_time: int) -> None:
    """Every sweep to its end."""
    await _side_by_side((partial(_to_its_end, sweep, report) for sweep in sweeps), at_a_time)


async def _to_its_end(sweep: Sweep, report: Report) -> None:
    for number in range(1, RUNS_MAX + 1):
        run = await one_run(sweep, number)
        report.add(run)
        if not run.met:
            wrong = "" if sweep.last is None else f"not met {sweep.last} times"
            report.end(sweep.case, number - 1, wrong=wrong)
            return
        if number == sweep.last:
            report.end(sweep.case, number)
            return
    report.end(sweep.case, RUNS_MAX, wrong=f"no end after {RUNS_MAX} runs")


async def run_selected(
    selected: Iterable[tuple[Sweep, int]], report: Report, *, at_a_time: int
) -> None:
    """These runs alone; each must meet its fault."""

    async def one(sweep: Sweep, number: int) -> None:
        run = await one_run(sweep, number)
        if not run.met:
            run = replace(run, wrong=f"{run.wrong} the fault was never met".strip())
        report.add(run)

    await _side_by_side((partial(one, *each) for each in selected), at_a_time)


async def _side_by_side(jobs: Iterable[Callable[[], Awaitable[None]]], at_a_time: int) -> None:
    slots = asyncio.Semaphore(at_a_time)

    async def in_slot(job: Callable[[], Awaitable[None]]) -> None:
        async with slots:
            await job()

    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(in_slot(job))


async def one_run(sweep: Sweep, number: int) -> Run:
    """What it came to; an error of ours is a run that went wrong, and the others go on."""
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(sweep.seconds_max):
            run = await sweep.run(sweep.case, number)
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"
        run = Run(sweep.case, number, {"failed": 1}, wrong=wrong)
    return replace(run, seconds=time.monotonic() - began_s)
