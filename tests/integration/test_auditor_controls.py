"""Controls: what the auditor must see, it sees; and where nothing is broken, it sees nothing.

Every scenario is played twice side by side, with a breach and without. A worker is broken from
outside, by broken_worker.py; the breach of an acknowledgement is a reader's.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from poste_restante import Mailboxes, StoreUnavailable
from poste_restante.position import mailbox_key
from tests.audit.control import Control, control
from tests.audit.keys import WINDOW_SIZE
from tests.audit.readers import AuditedMailboxes, mailboxes_at
from tests.audit.verdict import Verdict, ViolationKind
from tests.deployment import Deployment
from tests.fault_proxy import Call, Fault, assert_met, nth, rates

WORKER = Path(__file__).with_name("broken_worker.py")
WRITES = ("BatchWriteItem",)

SEED = 4


def _bodies(user: str, count: int) -> list[tuple[str, bytes]]:
    return [(user, b"%d" % number) for number in range(count)]


async def test_the_auditor_catches_a_commit_before_the_write(deployment: Deployment) -> None:
    """While the store throttles every write nothing may be committed; offsets above what is in no
    mailbox are seen at that instant (G1)."""

    async def scenario(control: Control) -> Verdict:
        await control.init()
        control.endpoint.use(nth(Fault.THROTTLED, 1, persistent=True, operations=WRITES))
        await control.produce(*_bodies("bob", 10), *_bodies("eve", 10))
        async with control.auditor.watching(every_s=0.2):
            control.worker(WORKER)
            await control.deployment.until(
                lambda: control.endpoint.injected.total() >= 3, "it writes"
            )
            await _until_seen(control, lambda seen: seen.committed_past > 0, looks=10)
            control.endpoint.use(lambda _: None)
            await control.auditor.drained()
        assert_met(control.endpoint, [Fault.THROTTLED])
        return await control.auditor.verdict()

    await control(deployment, "commit_before_write", scenario, ViolationKind.COMMITTED_PAST)


async def _until_seen(control: Control, condition: Callable[[Verdict], bool], looks: int) -> None:
    """Where something is broken it is seen; else for as many looks nothing is."""
    if control.broken:
        await control.deployment.until(
            lambda: condition(control.auditor.seen), "the auditor sees it"
        )
    else:
        await control.looks(looks)


async def test_the_auditor_catches_a_dropped_unprocessed_part(deployment: Deployment) -> None:
    """What a batch did not take is sent again; a worker that forgets it loses it (G1)."""

    async def scenario(control: Control) -> Verdict:
        await control.init()
        control.endpoint.use(rates({Fault.UNPROCESSED: 0.5}, seed=SEED, operations=WRITES))
        await control.produce(*((f"user-{n}", b"%d" % n) for n in range(200)))
        async with control.auditor.watching(every_s=0.2):
            control.worker(WORKER)
            await control.auditor.drained()
            await control.looks(1)
        assert_met(control.endpoint, [Fault.UNPROCESSED])
        return await control.auditor.verdict()

    await control(
        deployment,
        "unprocessed_dropped",
        scenario,
        ViolationKind.LOST,
        ViolationKind.COMMITTED_PAST,
    )


def _head(call: Call) -> bool:
    """Whether a call puts a bundle that begins at offset 0."""
    return any(item["position"]["S"].endswith(f".{0:019}") for item in call.puts())


async def test_the_auditor_catches_a_wave_ahead_of_its_time(deployment: Deployment) -> None:
    """The store holds a mailbox's first bundle back; readers may see nothing of it until it is
    there, and never what is behind it alone (G2)."""

    async def scenario(control: Control) -> Verdict:
        await control.init()
        control.endpoint.use(lambda call: Fault.THROTTLED if _head(call) else None)
        await control.produce(*_bodies("bob", 60))
        async with (
            control.auditor.watching(every_s=0.5),
            mailboxes_at(control.auditor.store, control.deployment.table) as opened,
        ):
            control.worker(WORKER, POSTE_BUNDLE__MESSAGES_MAX="1")
            mailboxes = AuditedMailboxes(control.journal, opened)
            await control.deployment.until(
                lambda: control.endpoint.injected.total() >= 4, "it is held"
            )
            for _ in range(5):
                await mailboxes.read("bob")
            control.endpoint.use(lambda _: None)
            await control.auditor.drained()
        return await control.auditor.verdict()

    await control(deployment, "waves_together", scenario, ViolationKind.HIDDEN)


async def test_the_auditor_catches_a_flush_after_a_failed_one(deployment: Deployment) -> None:
    """A flush that failed is the last of its life; one that goes on commits past it (G1)."""

    async def scenario(control: Control) -> Verdict:
        await control.init()
        control.endpoint.use(nth(Fault.ACCESS_DENIED, 2, operations=WRITES))
        await control.produce(*_bodies("bob", 100))
        limits = {"POSTE_BATCH__RECORDS_MAX": "10"}
        async with control.auditor.watching(every_s=0.2):
            worker = control.worker(WORKER, **limits)
            if not control.broken:
                assert await control.deployment.exited(worker) != 0
                control.worker(WORKER, **limits)
            await control.auditor.drained()
            await control.looks(1)
        assert_met(control.endpoint, [Fault.ACCESS_DENIED])
        return await control.auditor.verdict()

    await control(
        deployment, "on_after_a_failure", scenario, ViolationKind.LOST, ViolationKind.COMMITTED_PAST
    )


class DeletesFirst(Mailboxes):
    """Acknowledges the wrong way round."""

    async def ack(self, user_id: str, receipt: str | None, *, device: str | None = None) -> None:
        assert receipt is not None
        record = await self._table_check.record()
        found = self._receipts.decode(receipt, table_id=record.table_id, user_id=user_id)
        ackable_to = {log: reach.ackable_to for log, reach in found.logs.items()}
        await self._tidying.delete(mailbox_key(user_id), ackable_to)
        await super().ack(user_id, receipt, device=device)


async def test_the_auditor_catches_an_ack_that_deletes_first(
    deployment: Deployment,
) -> None:
    """The store goes away between the two: what was deleted and not acknowledged is lost (G1,
    G6)."""

    async def scenario(control: Control) -> Verdict:
        await control.init()
        await control.produce(*_bodies("bob", 10))
        control.deployment.worker()
        await control.auditor.drained()
        control.endpoint.use(nth(Fault.UNAVAILABLE, 1, persistent=True, operations=("UpdateItem",)))
        kind = DeletesFirst if control.broken else Mailboxes
        async with mailboxes_at(
            control.endpoint.url, control.deployment.table, kind=kind, delete_acknowledged=True
        ) as opened:
            mailboxes = AuditedMailboxes(control.journal, opened)
            pages = await mailboxes.read("bob")
            with pytest.raises(StoreUnavailable):
                await mailboxes.ack(pages[-1])
        assert_met(control.endpoint, [Fault.UNAVAILABLE])
        return await control.auditor.verdict()

    await control(deployment, "deletes first", scenario, ViolationKind.LOST)


async def test_the_auditor_catches_a_bundle_across_a_window_border(deployment: Deployment) -> None:
    """No reader accepts one: it would break the order of keys after a replay (G2)."""

    async def scenario(control: Control) -> Verdict:
        await control.init()
        await control.produce(*_bodies("filler", WINDOW_SIZE - 10))
        await control.produce(*_bodies("bob", 20))
        # No batch ends at the border, as one of the default 5,000 records would.
        control.worker(WORKER, POSTE_BATCH__RECORDS_MAX="3000")
        await control.auditor.drained()
        return await control.auditor.verdict()

    await control(
        deployment, "bundles_across_borders", scenario, ViolationKind.HIDDEN, ViolationKind.LOST
    )


async def test_the_auditor_catches_a_start_between_window_borders(deployment: Deployment) -> None:
    """A rewind into the middle of a bundle: what is written again from there with other limits
    sorts before it and hides its head, unless the start is rounded down (G2, G10)."""

    async def scenario(control: Control) -> Verdict:
        await control.init()
        await control.produce(*_bodies("bob", 100))
        worker = control.worker(WORKER)
        await control.auditor.drained()
        await control.stopped(worker)
        control.deployment.move_group(50)
        control.worker(WORKER, POSTE_BUNDLE__MESSAGES_MAX="7")
        await control.auditor.drained()
        return await control.auditor.verdict()

    await control(
        deployment, "start_between_borders", scenario, ViolationKind.HIDDEN, ViolationKind.LOST
    )
