"""Proofs of freshness on real services: they come, and no fault makes a wrong one (G11)."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

from aiokafka import AIOKafkaProducer

from poste_restante import Mailboxes
from poste_restante.partitioners import murmur2
from tests.deployment import Deployment
from tests.integration.test_transactions import killed_in_a_transaction

#: Seconds within which a proof must come; on a busy machine.
PROOF_S = 60.0


def users_of(partition: int, partitions: int) -> Iterator[str]:
    """Users whose messages Java's producers send to a partition."""
    names = (f"user-{n}" for n in count())
    return (name for name in names if murmur2(name.encode(), partitions) == partition)


async def caught_up(
    mailboxes: Mailboxes, user: str, until: Any, timeout_s: float = PROOF_S
) -> tuple[list[bytes], bool]:
    """The bodies that a reconnect shows, and whether it was proven complete."""
    catching_up = mailboxes.catch_up(user, until=until, timeout_s=timeout_s)
    bodies = [m.body async for page in catching_up for m in page.messages]
    return bodies, catching_up.complete


async def test_a_proof_comes_with_everything_that_was_acknowledged_before(
    deployment: Deployment,
) -> None:
    """By an instant and by offsets, with and without a partitioner, in the middle of traffic."""
    deployment.init(partitions=3)
    deployment.worker()
    over = asyncio.Event()
    traffic = asyncio.create_task(_traffic(deployment, over))
    try:
        async with deployment.mailboxes(partitioner="murmur2") as mailboxes:
            sent: list[bytes] = []
            for n in range(3):
                sent.append(b"%d" % n)
                ((partition, offset),) = await deployment.produce([("bob", sent[-1])])
                until: Any = {partition: offset} if n == 1 else datetime.now(UTC)
                assert await caught_up(mailboxes, "bob", until) == (sent, True)
                page = await mailboxes.fetch("bob", freshness=True)
                assert page.fresh_as_of is not None
                assert n == 1 or page.fresh_as_of >= until
        async with deployment.mailboxes() as mailboxes:
            assert await caught_up(mailboxes, "bob", datetime.now(UTC)) == (sent, True)
        shown = deployment.poste("fetch", "bob", "--json", "--fresh", f"{PROOF_S:g}")
        printed = json.loads(shown.stdout)
        assert printed["complete"]
        assert datetime.fromisoformat(printed["fresh_as_of"]) <= datetime.now(UTC)
        assert "fresh as of" in deployment.poste("fetch", "bob").stdout
        assert all(each["fresh_as_of"] for each in deployment.progress())
    finally:
        over.set()
        await traffic  # to its end: a producer that is cancelled leaves connections behind


async def _traffic(deployment: Deployment, over: asyncio.Event) -> None:
    """Messages of others, until it is over."""
    for n in count():
        if over.is_set():
            return
        await deployment.produce([(f"user-{n % 50}", b"x" * 300) for _ in range(100)])
        await asyncio.sleep(0.05)


async def test_without_a_worker_the_answer_is_late_and_never_wrong(deployment: Deployment) -> None:
    """Killed with a message on its way; another worker brings message and proof."""
    deployment.init(partitions=2)
    worker = deployment.worker()
    async with deployment.mailboxes() as mailboxes:
        assert await caught_up(mailboxes, "bob", datetime.now(UTC)) == ([], True)
        worker.kill()
        await deployment.produce([("bob", b"on its way")])
        until = datetime.now(UTC)
        assert await caught_up(mailboxes, "bob", until, timeout_s=3) == ([], False)
        late = await mailboxes.fetch("bob", freshness=True)
        assert late.fresh_as_of is not None
        assert late.fresh_as_of < until

        deployment.worker()
        assert await caught_up(mailboxes, "bob", until) == ([b"on its way"], True)


async def test_an_open_transaction_holds_back_its_partitions_proof_alone(
    deployment: Deployment,
) -> None:
    """A record behind it is appended and not readable. With a partitioner the others have a proof;
    when the transaction has ended, with a marker that is no record, so has this one."""
    deployment.init(partitions=2)
    deployment.worker()
    held, free = next(users_of(0, 2)), next(users_of(1, 2))
    await killed_in_a_transaction(deployment)
    await deployment.produce([(held, b"behind it"), (free, b"elsewhere")])
    until = datetime.now(UTC)
    async with deployment.mailboxes(partitioner="murmur2") as mailboxes:
        assert await caught_up(mailboxes, free, until) == ([b"elsewhere"], True)
        assert await caught_up(mailboxes, held, until, timeout_s=3) == ([], False)
    async with deployment.mailboxes() as mailboxes:
        assert await caught_up(mailboxes, free, until, timeout_s=3) == ([b"elsewhere"], False)

        await deployment.until(
            lambda: _abort(deployment), "the broker ends the transaction of a dead producer"
        )
        bodies, complete = await caught_up(mailboxes, held, until)
        assert complete
        assert bodies[-1:] == [b"behind it"]


async def _abort(deployment: Deployment) -> bool:
    """A producer with the same id ends what its predecessor left open."""
    producer = AIOKafkaProducer(
        bootstrap_servers=deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"],
        transactional_id=f"{deployment.topic}-held-back",
    )
    await producer.start()
    await producer.stop()
    return True


async def test_a_transaction_that_is_committed_is_proven_behind_its_marker(
    deployment: Deployment,
) -> None:
    """The log ends with a marker, which the offset of no durable record ever reaches."""
    deployment.init(partitions=1)
    deployment.worker()
    producer = AIOKafkaProducer(
        bootstrap_servers=deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"],
        transactional_id=f"{deployment.topic}-one",
    )
    await producer.start()
    async with producer.transaction():
        await producer.send_and_wait(deployment.topic, b"paid", key=b"bob")
    await producer.stop()
    async with deployment.mailboxes() as mailboxes:
        assert await caught_up(mailboxes, "bob", datetime.now(UTC)) == ([b"paid"], True)


async def test_claims_can_be_switched_off(deployment: Deployment) -> None:
    """Then there is no proof, and everything else is the same."""
    deployment.init(partitions=1)
    deployment.worker(POSTE_FRESHNESS_S="0")
    await deployment.produce([("bob", b"hello")])
    await deployment.drained()
    async with deployment.mailboxes() as mailboxes:
        assert await caught_up(mailboxes, "bob", datetime.now(UTC), timeout_s=0) == (
            [b"hello"], False,
        )  # fmt: skip
        assert (await mailboxes.fetch("bob", freshness=True)).fresh_as_of is None
    shown = deployment.poste("fetch", "bob", "--fresh", "1", check=False)
    assert shown.returncode == 1
    assert "hello" in shown.stdout
    assert "nothing is known about freshness" in shown.stdout
    assert shown.stderr == (
        "poste: not proven complete within 1 s: `poste progress` shows which partition is behind\n"
    )
