"""Crashes of a reader: its process ends at a step of an acknowledgement, and others read on."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.audit import AuditedMailboxes, mailboxes_at
from tests.audit.journal import Ack, Addition, Fetch, Outcome
from tests.audit.keys import Log
from tests.preloaded import PreloadedChild
from tests.sweeps.acking_reader import ADDED, NOT_ADDED
from tests.sweeps.mail import Mail
from tests.sweeps.orders import CRASHED, Order
from tests.sweeps.report import Case, Run
from tests.sweeps.steps import ACK_STEPS, names
from tests.sweeps.sweep import Sweep

SWEEP = "ack"
#: Times that each step is passed, at least: three acknowledgements are made for the account, and
#: three devices are removed.
TIMES = 3
#: Seconds that a reader may take: a second, most of it Python's start.
READER_S_MAX = 60.0


def ack_sweeps(mail: Mail) -> Iterator[Sweep]:
    """Each step of an acknowledgement."""
    run = AckRun(mail)
    for step in names(ACK_STEPS):
        yield Sweep(Case(SWEEP, step), run, last=TIMES)


class AckRun:
    """Makes runs, each of a mailbox of its own."""

    def __init__(self, mail: Mail) -> None:
        self._mail = mail
        self._users = iter(mail.large)

    async def __call__(self, case: Case, number: int) -> Run:
        mail, user = self._mail, next(self._users)
        directory = mail.deployment.directory / user
        directory.mkdir()
        order = Order(case.kind, number, persistent=False, directory=str(directory))
        endpoint = mail.shared.services.endpoint
        child = PreloadedChild(
            [
                sys.executable,
                "-m",
                "tests.sweeps.acking_reader",
                endpoint,
                mail.deployment.table,
                user,
            ],
            log=Path(directory) / "reader.log",
            env={**mail.deployment.environment, **order.environment()},
        )
        child.start()
        try:
            status = await asyncio.to_thread(child.wait, READER_S_MAX)
        finally:
            child.kill()
        self._journal(user, child.output())
        wrong = "" if status == CRASHED else f"status {status}: {child.tail()}"
        async with mailboxes_at(endpoint, mail.deployment.table) as opened:
            mailboxes = AuditedMailboxes(mail.journal, opened)
            for device in (ADDED, NOT_ADDED, None):
                await mailboxes.ack((await mailboxes.read(user, device=device))[-1])
                left = await mailboxes.read(user, device=device)
                if left[0].page.messages:
                    wrong += f" something is left of {device or 'the account'}"
        return Run(case, number, order.met(), (status,), wrong.strip(), {"clean": not wrong})

    def _journal(self, user: str, said: str) -> None:
        """What the child has done before it ended. What it had begun has no known outcome."""
        journal = self._mail.journal
        fetch: Fetch | None = None
        ack: Ack | None = None
        addition: Addition | None = None
        for line in said.splitlines():
            if not line.startswith("["):
                continue  # a traceback: the status says so
            match json.loads(line):
                case ["fetch", device, since]:
                    before = fetch if since else None
                    fetch = journal.fetch_begins(user, before, device=device, since=since)
                case ["page", messages, more, receipt]:
                    assert fetch is not None, "begun before"
                    shown = ((Log(*log), offset, body) for *log, offset, body in messages)
                    journal.fetch_ends(fetch, shown, more=more, receipt=receipt)
                case ["ack"]:
                    assert fetch is not None, "begun before"
                    ack = journal.ack_begins(fetch)
                case ["acknowledged"]:
                    assert ack is not None, "begun before"
                    journal.ack_ends(ack, Outcome.CONFIRMED)
                case ["add", device]:
                    addition = journal.addition_begins(user, device, "oldest")
                case ["added"]:
                    assert addition is not None, "begun before"
                    journal.addition_ends(addition, Outcome.CONFIRMED)
                case ["remove", device]:
                    journal.removal_begins(user, device)
