"""`python -m tests.sweeps`: all sweeps, one line of JSON a run; exit status 1 where one failed."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import click

from local import Services, start_services
from local.choose import LOCAL_AWS
from local.interrupts import exit_status
from tests.sweeps.ack_sweep import ack_sweeps
from tests.sweeps.crash_sweep import crash_sweeps
from tests.sweeps.kafka_sweep import kafka_sweeps
from tests.sweeps.mail import open_mail
from tests.sweeps.reading_sweep import reading_sweeps
from tests.sweeps.report import Report
from tests.sweeps.shared_services import open_shared_services
from tests.sweeps.store_sweep import store_sweeps
from tests.sweeps.sweep import Sweep, run_all

#: The sweeps of the reader's side, which share filled mailboxes.
MAILBOXES = ("reading", "devices", "ack")


@click.command()
@click.option("--seed", type=int, default=0, show_default=True, help="Of what faults leave open.")
@click.option("--only", multiple=True, metavar="NAME", help="Sweeps whose name begins so.")
@click.option("--workers", type=click.IntRange(1, 16), default=2, show_default=True,
              help="Runs at a time.")  # fmt: skip
def main(seed: int, only: tuple[str, ...], workers: int) -> None:
    """Fail the n-th call, for every n and every kind of fault; crash at every step; audit."""
    sys.exit(exit_status("make sweep", lambda: sweep(seed, only, workers)))


def sweep(seed: int, only: tuple[str, ...], workers: int) -> int:
    """Exit status: 0 when every sweep has passed."""
    logging.basicConfig(level=logging.ERROR)
    os.environ.update(LOCAL_AWS)
    report, began_s = Report(), time.monotonic()
    with start_services({}) as services:
        asyncio.run(_run(services, report, seed=seed, only=only, at_a_time=workers))
    report.print_summary(seed=seed, seconds=time.monotonic() - began_s)
    return 0 if report.passed else 1


async def _run(
    services: Services, report: Report, *, seed: int, only: tuple[str, ...], at_a_time: int
) -> None:
    async with open_shared_services(services, Path(services.directory) / "runs") as shared:

        def chosen(sweeps: Iterable[Sweep]) -> list[Sweep]:
            return [s for s in sweeps if not only or s.case.name.startswith(only)]

        if not only or any(name.startswith(MAILBOXES) for name in only):
            async with open_mail(shared, report) as mail:
                sweeps = chosen([*reading_sweeps(mail, seed=seed), *ack_sweeps(mail)])
                await run_all(sweeps, report, at_a_time=at_a_time)
        sweeps = chosen([
            *crash_sweeps(shared), *kafka_sweeps(shared), *store_sweeps(shared, seed=seed)
        ])  # fmt: skip
        await run_all(sweeps, report, at_a_time=at_a_time)


if __name__ == "__main__":
    main()
