"""Crash, rebalance, drain and replay: real workers, really killed."""

import asyncio
import signal
import sys

from tests.scene import Scene, expected
from tests.services.child import Child

USERS = [f"user-{n}" for n in range(20)]


def chat(count: int, begin: int = 0) -> list[tuple[str, bytes]]:
    """`count` messages, user after user."""
    return [(USERS[n % len(USERS)], b"message %d" % n) for n in range(begin, begin + count)]


async def assert_mailboxes(scene: Scene, records: list[tuple[str, bytes]]) -> None:
    async with scene.mailboxes() as mailboxes:
        for user in USERS:
            found = [m.body async for page in mailboxes.pages(user) for m in page.messages]

            assert found == expected(records, user), user


async def test_messages_reach_their_mailboxes_in_order(scene: Scene) -> None:
    """Every keyed record is in its user's mailbox, once, in log order (G1, G3, G5)."""
    scene.init()
    records = chat(1_000)
    await scene.produce(records)
    scene.worker()
    await scene.drained()

    await assert_mailboxes(scene, records)


async def test_fausts_own_command_runs_the_same_worker(scene: Scene) -> None:
    """`faust -A worker.app worker` is the other way in, with the same settings and log (G1)."""
    scene.init()
    records = chat(200)
    await scene.produce(records)
    child = Child(
        [sys.executable, "-m", "faust", "-A", "worker.app", "worker", "-l", "info"],
        log=scene.directory / "faust.log",
        env=scene.environment,
    )
    child.start()
    scene.workers.append(child)
    await scene.drained()
    child.signal(signal.SIGTERM)

    assert await scene.exited(child) == 0
    assert "reading from offset 0" in child.output()
    await assert_mailboxes(scene, records)


async def test_kill_9_and_restart_lose_nothing(scene: Scene) -> None:
    """A worker killed in mid-stream is followed by one that goes on; nothing is missing, nothing
    twice (G1, G5)."""
    scene.init()
    records = chat(6_000)
    first = scene.worker(POSTE_BATCH__RECORDS_MAX="100")
    producing = asyncio.create_task(scene.produce(records))
    await scene.until(lambda: "begins at offset" in scene.log(), "the worker reads")
    await scene.until(lambda: scene.read(USERS[0]), "the first messages are there")
    first.kill()
    await producing
    scene.worker()
    await scene.drained()

    await assert_mailboxes(scene, records)


async def test_what_was_acknowledged_does_not_come_back_after_a_crash(scene: Scene) -> None:
    """The records of unfinished commits are replayed below the cursor, invisibly (G4)."""
    scene.init()
    records = chat(1_000)
    await scene.produce(records)
    first = scene.worker(POSTE_KAFKA__COMMIT_INTERVAL_S="100")
    await scene.until(
        lambda: _count(scene, USERS[0], 50), "all of a mailbox is there, and nothing committed"
    )
    async with scene.mailboxes() as mailboxes:
        page = await mailboxes.fetch(USERS[0])
        assert page.receipt is not None
        await mailboxes.ack(USERS[0], page.receipt)
    first.kill()
    assert all(p["next"] == 0 for p in scene.progress())
    scene.worker()
    await scene.drained()

    assert await scene.read(USERS[0]) == []
    assert await scene.bodies(USERS[1]) == expected(records, USERS[1])


async def _count(scene: Scene, user: str, count: int) -> bool:
    return len(await scene.read(user)) == count


async def test_a_second_worker_takes_half_and_the_first_goes_on(scene: Scene) -> None:
    """A rebalance in mid-stream, and one back: nothing lost, nothing twice (G1, G5)."""
    scene.init(partitions=4)
    records = chat(8_000)
    scene.worker(POSTE_BATCH__RECORDS_MAX="50")
    await scene.produce(records[:4_000])
    second = scene.worker(POSTE_BATCH__RECORDS_MAX="50")
    producing = asyncio.create_task(scene.produce(records[4_000:]))
    await scene.until(lambda: "assigned: partitions" in second.output(), "it joins")
    await producing
    second.signal(signal.SIGTERM)
    assert await scene.exited(second) == 0
    await scene.drained()

    await assert_mailboxes(scene, records)


async def test_sigterm_drains_and_commits(scene: Scene) -> None:
    """SIGTERM makes what is in flight durable, commits it, and exits with 0; SIGUSR2, which would
    stop a worker of Faust's in a debugger, does not hold it up (G1)."""
    scene.init()
    records = chat(2_000)
    await scene.produce(records)
    worker = scene.worker(POSTE_KAFKA__COMMIT_INTERVAL_S="100", POSTE_BATCH__RECORDS_MAX="100")
    await scene.until(lambda: scene.read(USERS[0]), "the first messages are there")
    worker.signal(signal.SIGUSR1)
    await scene.until(lambda: "MainThread" in worker.output(), "it says where it stands")
    worker.signal(signal.SIGUSR2)
    await scene.until(lambda: "SIGUSR2 is ignored" in worker.output(), "it goes on")
    worker.signal(signal.SIGTERM)

    assert await scene.exited(worker) == 0
    found = scene.progress()
    assert sum(p["next"] for p in found) > 0
    assert [p["group_offset"] or 0 for p in found] == [p["next"] for p in found]

    scene.worker()
    await scene.drained()
    await assert_mailboxes(scene, records)


async def test_a_rewind_into_old_bundles_is_invisible(scene: Scene) -> None:
    """Kafka's own tool moves the group into the middle of old bundles; the worker replays from a
    window border, acknowledged messages stay away, the others are not doubled (G2, G4, G5)."""
    scene.init()
    records = chat(2_000)
    await scene.produce(records)
    first = scene.worker(POSTE_BUNDLE__MESSAGES_MAX="7")
    await scene.drained()
    async with scene.mailboxes() as mailboxes:
        page = await mailboxes.fetch(USERS[0], limit=30)
        assert page.receipt is not None
        await mailboxes.ack(USERS[0], page.receipt)
    first.signal(signal.SIGTERM)
    assert await scene.exited(first) == 0
    scene.reset_offsets("--to-offset", "333")
    scene.worker(POSTE_BUNDLE__MESSAGES_MAX="5")
    await scene.said("replaying from 0")
    await scene.drained()

    assert await scene.bodies(USERS[0]) == expected(records, USERS[0])[30:]
    assert await scene.bodies(USERS[1]) == expected(records, USERS[1])


async def test_an_expired_group_offset_costs_nothing(scene: Scene) -> None:
    """Without its group offset the worker goes on at progress (G1, G4)."""
    scene.init()
    records = chat(500)
    await scene.produce(records)
    first = scene.worker()
    await scene.drained()
    first.signal(signal.SIGTERM)
    assert await scene.exited(first) == 0
    scene.delete_group()
    more = chat(100, begin=500)
    await scene.produce(more)
    scene.worker()
    await scene.drained()

    assert "replaying" not in scene.log()
    await assert_mailboxes(scene, records + more)


async def test_a_group_moved_forward_is_not_followed(scene: Scene) -> None:
    """Unmaterialized records are not skipped by a group's offset; the warning names the way to do
    so (G1)."""
    scene.init()
    records = chat(300)
    await scene.produce(records)
    first = scene.worker()
    await scene.drained()
    first.signal(signal.SIGTERM)
    assert await scene.exited(first) == 0
    more = chat(300, begin=300)
    await scene.produce(more)
    scene.reset_offsets("--to-latest")
    scene.worker()
    await scene.said("poste skip")
    await scene.drained()

    await assert_mailboxes(scene, records + more)
