"""Sweeps: a thin selection of `python -m tests.sweeps`, in which every kind of fault and every
step of a crash occurs; all of it runs by `make sweep`."""

import os
import random
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from local import Services
from tests.fault_proxy import Fault
from tests.sweeps.ack_sweep import ack_sweeps
from tests.sweeps.chains import OrderChain, StoreChain, shuffled
from tests.sweeps.kafka_faults import KAFKA_FAULTS
from tests.sweeps.mail import open_mail
from tests.sweeps.reading_sweep import DEVICES, reading_sweeps
from tests.sweeps.reading_sweep import SWEEP as READING
from tests.sweeps.report import Case, Report
from tests.sweeps.shared_services import SharedServices, open_shared_services
from tests.sweeps.steps import ACK_STEPS, FLUSH_STEPS, names
from tests.sweeps.store_sweep import ALWAYS
from tests.sweeps.sweep import Sweep, run_all, run_selected

#: Printed with every run; another one tries other orders and other calls.
SEED = int(os.environ.get("SWEEP_SEED", "1"))
#: Runs at a time: most of each is waiting.
AT_A_TIME = 3
#: Chains into which the steps are cut: each is started again and again, one beside the other.
CHAINS = 3
#: Seconds of one of them: a dozen starts, which take 2 s each, or 8 on a busy machine.
CHAIN_S_MAX = 300.0
#: Mailboxes that the readers' runs take, one each, and their highest n for a selected call.
MAILBOXES, N_MAX = 220, 12
#: Swept over every call of a reader, since the store is left differently: the call is not made; it
#: is made, and nobody knows; it is made behind its own retry. The others are met at some calls.
EVERY_CALL = (Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.LATE)
SOME_CALLS = 3

pytestmark = [pytest.mark.timeout(600)]  # many starts of workers, each with limits of its own


def _clean(report: Report) -> None:
    assert report.runs
    assert report.failures == [], f"seed {SEED}"


async def test_any_call_of_a_worker_to_the_store_may_fail(
    services: Services, dynamodb: object, tmp_path: Path
) -> None:
    """Whatever befalls a call, nothing is lost, echoed or doubled; what throttles or is away is
    waited for, and what is refused ends the process, which says why (G1, G4, G5, G9)."""
    report = Report(sys.stdout)
    async with open_shared_services(services, tmp_path) as shared:
        await run_selected(
            [
                (_chain("store", n, StoreChain(shared, faults, SEED + n)), 1)
                for n, faults in enumerate(_shuffled_faults())
            ],
            report, at_a_time=AT_A_TIME,
        )  # fmt: skip

    _clean(report)
    for run in report.runs:
        assert set(run.injected) == {fault.value for fault in Fault}
        assert run.exits.count(1) >= len(ALWAYS)


def _shuffled_faults() -> list[list[Fault]]:
    return [random.Random(f"{SEED} {n}").sample(list(Fault), len(Fault)) for n in range(2)]


async def test_any_commit_and_any_dead_letter_may_fail(
    services: Services, dynamodb: object, tmp_path: Path
) -> None:
    """A commit or a dead letter that fails, or whose answer is lost, loses nothing and commits
    nothing that is not durable; what the broker forbids ends the process (G1, G9)."""
    report = Report(sys.stdout)
    survived = [kind for kind, fault in KAFKA_FAULTS.items() if fault.leaves is None]
    leaving = [kind for kind, fault in KAFKA_FAULTS.items() if fault.leaves is not None]
    async with open_shared_services(services, tmp_path) as shared:
        chains = [[",".join(shuffled(survived, seed=SEED))], shuffled(leaving, seed=SEED)]
        await run_selected(_chained("kafka", shared, chains), report, at_a_time=AT_A_TIME)

    _clean(report)
    assert {kind for run in report.runs for kind in run.injected} == KAFKA_FAULTS.keys()
    assert sum(run.exits.count(1) for run in report.runs) == len(leaving)


async def test_a_worker_may_crash_at_any_step_of_a_flush(
    services: Services, dynamodb: object, tmp_path: Path
) -> None:
    """A process that ends between any two steps leaves what the next one completes: nothing is
    lost, and what was acknowledged meanwhile does not come back (G1, G2, G4, G5)."""
    report = Report(sys.stdout)
    steps = names(FLUSH_STEPS)
    async with open_shared_services(services, tmp_path) as shared:
        chains = [shuffled(steps[n::CHAINS], seed=SEED) for n in range(CHAINS)]
        await run_selected(_chained("crash", shared, chains), report, at_a_time=AT_A_TIME)

    _clean(report)
    assert {step for run in report.runs for step in run.injected} == set(steps)


def _chained(
    sweep: str, shared: SharedServices, chains: Iterable[list[str]]
) -> list[tuple[Sweep, int]]:
    return [(_chain(sweep, n, OrderChain(shared, o)), 1) for n, o in enumerate(chains)]


def _chain(sweep: str, number: int, run: OrderChain | StoreChain) -> Sweep:
    return Sweep(Case(sweep, f"chain {number}"), run, seconds_max=CHAIN_S_MAX)


async def test_any_call_of_a_reader_may_fail(
    services: Services, dynamodb: object, tmp_path: Path
) -> None:
    """Fetching and acknowledging again after any failure, at any call, or after a crash at any
    step: every message is shown, none after its acknowledgement (G2, G4, G6)."""
    report, rng = Report(sys.stdout), random.Random(SEED)
    steps = names(ACK_STEPS)
    async with (
        open_shared_services(services, tmp_path) as shared,
        open_mail(shared, report, small=MAILBOXES, large=len(steps)) as mail,
    ):
        selected = [(sweep, rng.randint(1, 3)) for sweep in ack_sweeps(mail)]
        every_call = []
        for sweep in reading_sweeps(mail, seed=SEED):
            transient = sweep.case.sweep == READING and not sweep.case.persistent
            if transient and sweep.case.kind in EVERY_CALL:
                every_call.append(sweep)
            elif sweep.case.kind == Fault.UNPROCESSED:
                selected.append((sweep, 1))
            else:
                calls = rng.sample(range(1, N_MAX + 1), SOME_CALLS if transient else 1)
                selected += [(sweep, number) for number in calls]
        await run_selected(selected, report, at_a_time=AT_A_TIME)
        await run_all(every_call, report, at_a_time=AT_A_TIME)

    _clean(report)
    assert {r.case.kind for r in report.runs if r.case.sweep == "ack"} == set(steps)
    met = {(r.case.sweep, r.case.kind, r.case.persistent) for r in report.runs}
    for fault in Fault:
        for sweep_name in (READING, DEVICES):
            assert {(sweep_name, fault, False), (sweep_name, fault, True)} <= met
    assert len(report.ends) == len(EVERY_CALL)
