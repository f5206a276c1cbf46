"""Flushes that end in no good way: an exception, a cancellation, a fault of our own, a hang."""

from functools import partial

from tests.deployment import Deployment, signal
from tests.integration.trapping import has, hold, trapped


async def test_a_single_failed_flush_ends_the_process_uncommitted(deployment: Deployment) -> None:
    """One exception, or one cancellation, out of one flush: status 1, nothing of it and nothing
    behind it written or committed; the next worker delivers all, once (G1, G2, G5).

    That one's decoder fails on a record, which is that record's dead letter and nobody's end
    (G9). Faust's own tracking of offsets, which would commit too much, stays empty (G1)."""
    deployment.init(partitions=1)
    bodies = [b"1", b"2", b"trap", b"3", b"4"]
    await deployment.produce([("bob", body) for body in [*bodies, b"poison", b"after"]])
    for trap, said in (
        ("raise_once", "RuntimeError: trapped"),
        ("cancel_once", "a flush was cancelled outside a rebalance or a stop"),
    ):
        worker = trapped(deployment, trap, POSTE_BATCH__RECORDS_MAX="2")

        assert await deployment.exited(worker) == 1
        assert said in worker.output()
        assert await deployment.bodies("bob") == [b"1", b"2"]
    (found,) = deployment.progress()
    assert max(found["next"], found["group_offset"] or 0) <= 2

    worker = trapped(deployment, "decoder", "acks")
    await deployment.drained()
    (letter,) = await deployment.consumed(f"{deployment.topic}.dead-letters", 1)
    worker.signal(signal.SIGTERM)
    assert await deployment.exited(worker) == 0
    assert await deployment.bodies("bob") == [*bodies, b"after"]
    assert letter.value == b"poison"
    assert dict(letter.headers)["dead-letter-reason"] == b"decoder_failed"
    assert "trap: tracked 0" in worker.output()


async def test_a_partition_whose_writes_hang_holds_up_no_other(deployment: Deployment) -> None:
    """While the store hangs for one partition, past the poll interval, the others are delivered
    and committed, new records too, by the same member; then the one is (G1, G8). A SIGTERM in the
    middle of a write waits for it, and a second SIGTERM changes nothing."""
    deployment.init(partitions=2)
    gate = hold(deployment, "write-0")
    worker = trapped(
        deployment, "hold_writes", "poll_interval=4", POSTE_KAFKA__COMMIT_INTERVAL_S="0.2"
    )
    for turn in range(2):
        await deployment.produce(
            {"key": user, "value": b"%d" % turn, "partition": partition}
            for partition, user in enumerate(["hot", "cold"])
        )
        seen = [b"%d" % n for n in range(turn + 1)]
        await deployment.until(partial(has, deployment, "cold", *seen), "the other goes on")
    await deployment.until(lambda: "trap: idle" in worker.output(), "longer than a poll interval")
    found = deployment.progress()
    assert [p["next"] for p in found] == [0, 2]
    assert worker.output().count("assigned:") == 1
    assert await deployment.bodies("hot") == []

    worker.signal(signal.SIGTERM)
    await deployment.until(lambda: "trap: draining" in worker.output(), "it drains")
    worker.signal(signal.SIGTERM)
    gate.unlink()
    assert await deployment.exited(worker) == 0
    (hot, _) = deployment.progress()
    assert hot["next"] == hot["group_offset"] >= 1

    deployment.worker()
    await deployment.drained()
    assert await deployment.bodies("hot") == [b"0", b"1"]
