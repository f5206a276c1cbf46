"""Sweeps: a thin selection of `python -m tests.sweeps`, in which every kind of fault and every
step of a crash occurs; the whole of it runs by `make sweep`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.endpoint import Fault
from tests.services import Services
from tests.sweeps.ack_sweep import ack_sweeps
from tests.sweeps.crash_sweep import crash_sweeps
from tests.sweeps.ground import Ground, open_ground
from tests.sweeps.kafka_faults import KAFKA_FAULTS
from tests.sweeps.kafka_sweep import kafka_sweeps
from tests.sweeps.mail import open_mail
from tests.sweeps.reading_sweep import reading_sweeps
from tests.sweeps.report import Report
from tests.sweeps.selection import select
from tests.sweeps.steps import ACK_STEPS, FLUSH_STEPS, names
from tests.sweeps.store_sweep import store_sweeps
from tests.sweeps.sweep import Sweep, run_all, run_selected

#: Of what is selected; another one tries other runs: POSTE_ is taken from the environment.
SEED = int(os.environ.get("SWEEP_SEED", "1"))
#: Runs at a time: most of each is waiting.
AT_A_TIME = 3
#: Calls that every scenario makes: of a worker to the store, batches of them, commits, letters,
#: connections.
CALLS, BATCHES, COMMITS, LETTERS, CONNECTIONS = 20, 12, 3, 6, 1

pytestmark = [pytest.mark.timeout(600)]  # many runs, each with its own limits


async def _selected(
    services: Services,
    directory: Path,
    sweeps: Callable[[Ground], list[Sweep]],
    most: dict[str, int],
) -> Report:
    report = Report(sys.stdout)
    async with open_ground(services, directory) as ground:
        chosen = select(sweeps(ground), seed=SEED, most=most, usual=CALLS)
        await run_selected(chosen, report, at_a_time=AT_A_TIME)
    return report


async def test_any_call_of_a_worker_to_the_store_may_fail(
    services: Services, dynamodb: object, tmp_path: Path
) -> None:
    """Whatever befalls a call, nothing is lost, echoed or doubled; what throttles or is away is
    waited for, and what is refused ends the process, which says why (G1, G4, G5, G9)."""
    report = await _selected(
        services, tmp_path, lambda ground: list(store_sweeps(ground, seed=SEED)),
        {Fault.UNPROCESSED: BATCHES},
    )  # fmt: skip

    assert report.failures == []
    assert {run.case.kind for run in report.runs} == {fault.value for fault in Fault}


async def test_any_commit_and_any_dead_letter_may_fail(
    services: Services, dynamodb: object, tmp_path: Path
) -> None:
    """A commit or a dead letter that fails, or whose answer is lost, loses nothing and commits
    nothing that is not durable (G1, G9)."""
    report = await _selected(
        services, tmp_path, lambda ground: list(kafka_sweeps(ground)),
        {"commit": COMMITS, "letter-no-broker": CONNECTIONS, "letter": LETTERS},
    )  # fmt: skip

    assert report.failures == []
    assert {run.case.kind for run in report.runs} == KAFKA_FAULTS.keys()


async def test_a_worker_may_crash_at_any_step_of_a_flush(
    services: Services, dynamodb: object, tmp_path: Path
) -> None:
    """A process that ends between any two steps leaves what the next one completes: nothing is
    lost, and what was acknowledged meanwhile does not come back (G1, G2, G4, G5)."""
    report = await _selected(services, tmp_path, lambda ground: list(crash_sweeps(ground)), {})

    assert report.failures == []
    assert {run.case.kind for run in report.runs} == set(names(FLUSH_STEPS))


async def test_any_call_of_a_reader_may_fail(
    services: Services, dynamodb: object, tmp_path: Path
) -> None:
    """Fetching and acknowledging again after any failure, at any call, or after a crash at any
    step: every message is shown, none after its acknowledgement (G2, G4, G6)."""
    report = Report(sys.stdout)
    async with (
        open_ground(services, tmp_path) as ground,
        open_mail(ground, report) as mail,
    ):
        chosen = select(ack_sweeps(mail), seed=SEED, most={}, usual=1)
        await run_selected(chosen, report, at_a_time=AT_A_TIME)
        await run_all(reading_sweeps(mail, seed=SEED), report, at_a_time=AT_A_TIME)

    assert report.failures == []
    steps = {run.case.kind for run in report.runs if run.case.sweep == "ack"}
    assert steps == set(names(ACK_STEPS))
    assert all(met > 3 for met in report.ends.values())
