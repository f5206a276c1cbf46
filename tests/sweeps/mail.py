"""Mailboxes for the sweeps of the reader's side: filled once, by a worker, one for every run."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.audit import AuditedProducer, Auditor, Journal, Outgoing
from tests.deployment import Deployment
from tests.sweeps.play import LEAVE_S_MAX, PART_S_MAX, ends_of
from tests.sweeps.report import Report
from tests.sweeps.scenario import PARTITIONS
from tests.sweeps.shared_services import SharedServices, until

#: Mailboxes, and messages of each: small ones for reading, four bundles of two messages each;
#: large ones for acknowledgements that delete by more than one call, of 25 bundles.
SMALL, SMALL_MESSAGES = 1_600, 8
LARGE, LARGE_MESSAGES = 60, 80


@dataclass
class Mail:
    """Filled mailboxes. Their messages stand in two partitions: acknowledging raises two."""

    shared: SharedServices
    deployment: Deployment
    journal: Journal
    small: list[str]
    large: list[str]


@asynccontextmanager
async def open_mail(
    shared: SharedServices, report: Report, *, small: int = SMALL, large: int = LARGE
) -> AsyncIterator[Mail]:
    """Filled by a real worker, which has left; audited on leaving, when all runs are over."""
    deployment = await shared.deployment("reading", partitions=PARTITIONS)
    mail = Mail(
        shared, deployment, Journal(),
        [f"small-{n}" for n in range(small)], [f"large-{n}" for n in range(large)],
    )  # fmt: skip
    try:
        await _fill(mail)
        yield mail
        verdict = await Auditor(mail.journal, deployment.environment).verdict()
        report.audit("reading", verdict.figures())
    finally:
        deployment.end()


async def _fill(mail: Mail) -> None:
    shared, deployment = mail.shared, mail.deployment
    sizes = dict.fromkeys(mail.small, SMALL_MESSAGES) | dict.fromkeys(mail.large, LARGE_MESSAGES)
    worker = deployment.worker()
    async with AuditedProducer(
        mail.journal, shared.services.bootstrap, deployment.topic
    ) as producer:
        produced = await producer.produce(
            *(
                Outgoing(key=user.encode(), value=b"%d" % number, partition=number % PARTITIONS)
                for user, messages in sizes.items()
                for number in range(messages)
            )
        )

    async def committed() -> bool:
        return await shared.committed(deployment) == ends_of(produced)

    await until(committed, "the mailboxes are filled", PART_S_MAX)
    worker.signal(signal.SIGTERM)
    status = await asyncio.to_thread(worker.wait, LEAVE_S_MAX)
    assert status == 0, worker.tail()
