"""Crash, rebalance, drain and replay: real workers, really killed."""

import asyncio
import signal
import sys

from local.child import Child
from tests.deployment import Deployment, expected

USERS = [f"user-{n}" for n in range(20)]


def chat(count: int, begin: int = 0) -> list[tuple[str, bytes]]:
    """`count` messages, user after user."""
    return [(USERS[n % len(USERS)], b"message %d" % n) for n in range(begin, begin + count)]


async def assert_mailboxes(deployment: Deployment, records: list[tuple[str, bytes]]) -> None:
    async with deployment.mailboxes() as mailboxes:
        for user in USERS:
            found = [m.body async for page in mailboxes.pages(user) for m in page.messages]

            assert found == expected(records, user), user


async def test_messages_reach_their_mailboxes_in_order(deployment: Deployment) -> None:
    """Every keyed record is in its user's mailbox, once, in log order (G1, G3, G5)."""
    deployment.init()
    records = chat(1_000)
    await deployment.produce(records)
    deployment.worker()
    await deployment.drained()

    await assert_mailboxes(deployment, records)


async def test_fausts_own_command_runs_the_same_worker(deployment: Deployment) -> None:
    """`faust -A worker.app worker` is the other way in, with the same settings and log (G1)."""
    deployment.init()
    records = chat(200)
    await deployment.produce(records)
    child = Child(
        [sys.executable, "-m", "faust", "-A", "worker.app", "worker", "-l", "info"],
        log=deployment.directory / "faust.log",
        env=deployment.environment,
    )
    child.start()
    deployment.workers.append(child)
    await deployment.drained()
    child.signal(signal.SIGTERM)

    assert await deployment.exited(child) == 0
    assert "reading from offset 0" in child.output()
    await assert_mailboxes(deployment, records)


async def test_kill_9_and_restart_lose_nothing(deployment: Deployment) -> None:
    """A worker killed in mid-stream is followed by one that goes on; nothing is missing, nothing
    twice (G1, G5)."""
    deployment.init()
    records = chat(6_000)
    first = deployment.worker(POSTE_BATCH__RECORDS_MAX="100")
    producing = asyncio.create_task(deployment.produce(records))
    await deployment.until(lambda: "begins at offset" in deployment.log(), "the worker reads")
    await deployment.until(lambda: deployment.read(USERS[0]), "the first messages are there")
    first.kill()
    await producing
    deployment.worker()
    await deployment.drained()

    await assert_mailboxes(deployment, records)


async def test_what_was_acknowledged_does_not_come_back_after_a_crash(
    deployment: Deployment,
) -> None:
    """The records of unfinished commits are replayed below the cursor, invisibly (G4)."""
    deployment.init()
    records = chat(1_000)
    await deployment.produce(records)
    first = deployment.worker(POSTE_KAFKA__COMMIT_INTERVAL_S="100")
    await deployment.until(
        lambda: _count(deployment, USERS[0], 50), "all of a mailbox is there, and nothing committed"
    )
    async with deployment.mailboxes() as mailboxes:
        page = await mailboxes.fetch(USERS[0])
        assert page.receipt is not None
        await mailboxes.ack(USERS[0], page.receipt)
    first.kill()
    assert all(p["next"] == 0 for p in deployment.progress())
    deployment.worker()
    await deployment.drained()

    assert await deployment.read(USERS[0]) == []
    assert await deployment.bodies(USERS[1]) == expected(records, USERS[1])


async def _count(deployment: Deployment, user: str, count: int) -> bool:
    return len(await deployment.read(user)) == count


async def test_a_second_worker_takes_half_and_the_first_goes_on(deployment: Deployment) -> None:
    """A rebalance in mid-stream, and one back: nothing lost, nothing twice (G1, G5)."""
    deployment.init(partitions=4)
    records = chat(8_000)
    deployment.worker(POSTE_BATCH__RECORDS_MAX="50")
    await deployment.produce(records[:4_000])
    second = deployment.worker(POSTE_BATCH__RECORDS_MAX="50")
    producing = asyncio.create_task(deployment.produce(records[4_000:]))
    await deployment.until(lambda: "assigned: partitions" in second.output(), "it joins")
    await producing
    second.signal(signal.SIGTERM)
    assert await deployment.exited(second) == 0
    await deployment.drained()

    await assert_mailboxes(deployment, records)


async def test_sigterm_drains_and_commits(deployment: Deployment) -> None:
    """SIGTERM makes what is in flight durable, commits it, and exits with 0; SIGUSR2, which would
    stop a worker of Faust's in a debugger, does not hold it up (G1)."""
    deployment.init()
    records = chat(2_000)
    await deployment.produce(records)
    worker = deployment.worker(POSTE_KAFKA__COMMIT_INTERVAL_S="100", POSTE_BATCH__RECORDS_MAX="100")
    await deployment.until(lambda: deployment.read(USERS[0]), "the first messages are there")
    worker.signal(signal.SIGUSR1)
    await deployment.until(lambda: "MainThread" in worker.output(), "it says where it stands")
    worker.signal(signal.SIGUSR2)
    await deployment.until(lambda: "SIGUSR2 is ignored" in worker.output(), "it goes on")
    worker.signal(signal.SIGTERM)

    assert await deployment.exited(worker) == 0
    found = deployment.progress()
    assert sum(p["next"] for p in found) > 0
    assert [p["group_offset"] or 0 for p in found] == [p["next"] for p in found]

    deployment.worker()
    await deployment.drained()
    await assert_mailboxes(deployment, records)


async def test_a_rewind_into_old_bundles_is_invisible(deployment: Deployment) -> None:
    """Kafka's own tool moves the group into the middle of old bundles; the worker replays from a
    window border, acknowledged messages stay away, the others are not doubled (G2, G4, G5)."""
    deployment.init()
    records = chat(2_000)
    await deployment.produce(records)
    first = deployment.worker(POSTE_BUNDLE__MESSAGES_MAX="7")
    await deployment.drained()
    async with deployment.mailboxes() as mailboxes:
        page = await mailboxes.fetch(USERS[0], limit=30)
        assert page.receipt is not None
        await mailboxes.ack(USERS[0], page.receipt)
    first.signal(signal.SIGTERM)
    assert await deployment.exited(first) == 0
    deployment.move_group(333)
    deployment.worker(POSTE_BUNDLE__MESSAGES_MAX="5")
    await deployment.said("replaying from 0")
    await deployment.drained()

    assert await deployment.bodies(USERS[0]) == expected(records, USERS[0])[30:]
    assert await deployment.bodies(USERS[1]) == expected(records, USERS[1])


async def test_an_expired_group_offset_costs_nothing(deployment: Deployment) -> None:
    """Without its group offset the worker goes on at progress (G1, G4)."""
    deployment.init()
    records = chat(500)
    await deployment.produce(records)
    first = deployment.worker()
    await deployment.drained()
    first.signal(signal.SIGTERM)
    assert await deployment.exited(first) == 0
    deployment.admin.delete_group(deployment.group)
    more = chat(100, begin=500)
    await deployment.produce(more)
    deployment.worker()
    await deployment.drained()

    assert "replaying" not in deployment.log()
    await assert_mailboxes(deployment, records + more)


async def test_a_group_moved_forward_is_not_followed(deployment: Deployment) -> None:
    """Unmaterialized records are not skipped by a group's offset; the warning names the way to do
    so (G1)."""
    deployment.init()
    records = chat(300)
    await deployment.produce(records)
    first = deployment.worker()
    await deployment.drained()
    first.signal(signal.SIGTERM)
    assert await deployment.exited(first) == 0
    more = chat(300, begin=300)
    await deployment.produce(more)
    deployment.move_group("latest")
    deployment.worker()
    await deployment.said("poste skip")
    await deployment.drained()

    await assert_mailboxes(deployment, records + more)
