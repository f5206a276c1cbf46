"""Members that wait, look-ups that are slow, rebalances in each other's way."""

from tests.deployment import Deployment, expected, signal
from tests.integration.trapping import assigned, hold, trapped

USERS = [f"user-{n}" for n in range(8)]


def chat(begin: int, end: int) -> list[tuple[str, bytes]]:
    return [(USERS[n % len(USERS)], b"%d" % n) for n in range(begin, end)]


async def assert_read(deployment: Deployment, records: list[tuple[str, bytes]]) -> None:
    for user in USERS:
        assert await deployment.bodies(user) == expected(records, user)


async def test_a_spare_member_takes_over_after_idling(deployment: Deployment) -> None:
    """Neither a member without partitions nor one without records leaves the group, however long
    past the poll interval, and one that was late with its poll comes back to it; the spare takes
    over when the other ends (G1)."""
    deployment.init(partitions=1)
    late = trapped(deployment, "poll_interval=4", "late_poll")
    await deployment.until(lambda: len(assigned(late)) == 2, "it has left, and come back")
    workers = [late, trapped(deployment, "poll_interval=4")]
    await deployment.said("idle with 0 partitions")
    assert deployment.log().count("revoked: partitions") == 2  # it left, and another joined
    (spare,) = [w for w in workers if "idle with 0 partitions" in w.output()]
    (owner,) = [w for w in workers if w is not spare]
    before = len(assigned(spare))
    owner.signal(signal.SIGTERM)
    await deployment.produce([("bob", b"1")])
    await deployment.drained()

    assert await deployment.bodies("bob") == [b"1"]
    assert assigned(spare)[before:] == [[0]]


async def test_an_answer_to_a_question_of_an_earlier_assignment_is_not_taken(
    deployment: Deployment,
) -> None:
    """A look-up that takes longer than Faust waits for one (then Faust goes on without it): the
    member stays in its group, nothing is read from a position that nobody chose. Its answer comes
    two rebalances later, when it is old, and moves nothing (G1, G2)."""
    deployment.init(partitions=2)
    records = chat(0, 200)
    await deployment.produce(records)
    gate = hold(deployment, "look-up")
    slow = trapped(deployment, "hold_first_look_up", "request_timeout=2")
    await deployment.until(lambda: "trap: held up for long" in slow.output(), "a slow look-up")
    assert len(assigned(slow)) == 1
    assert "reading from" not in slow.output()

    other = deployment.worker()
    await deployment.until(lambda: len(assigned(slow)) == 2, "a rebalance")
    await deployment.drained()
    other.signal(signal.SIGTERM)
    assert await deployment.exited(other) == 0
    await deployment.until(lambda: slow.output().count("reading from") == 3, "one more")
    more = chat(200, 300)
    await deployment.produce(more)
    gate.unlink()
    await deployment.until(lambda: "trap: released by look-up" in slow.output(), "the old answer")
    last = chat(300, 400)
    await deployment.produce(last)
    await deployment.drained()

    assert slow.alive
    assert slow.output().count("reading from") == 3
    await assert_read(deployment, records + more + last)


async def test_sigterm_in_the_middle_of_two_rebalances(deployment: Deployment) -> None:
    """A worker that drains for one rebalance, when the next one begins, is told to stop: it
    finishes the write that it has in work and leaves with status 0; the others go on, without
    Faust's compiled streams too (G1, G5)."""
    deployment.init(partitions=2)
    records = chat(0, 400)
    gate = hold(deployment, "write-0")
    leaving = trapped(deployment, "hold_writes", POSTE_BATCH__RECORDS_MAX="20")
    await deployment.produce(records[:200])
    await deployment.until(lambda: "trap: held up by write-0" in leaving.output(), "it writes")
    deployment.fresh = True  # Faust reads the variable when it is imported
    deployment.worker(NO_CYTHON="1")
    await deployment.until(
        lambda: "trap: draining" in leaving.output(), "it drains for a rebalance"
    )
    deployment.worker(NO_CYTHON="1")
    leaving.signal(signal.SIGTERM)
    await deployment.produce(records[200:])
    gate.unlink()

    assert await deployment.exited(leaving) == 0
    await deployment.drained()
    await assert_read(deployment, records)


async def test_what_happens_to_the_topic_before_and_under_a_worker(deployment: Deployment) -> None:
    """Faust would idle without a word: a worker without its topic says so in one line and exits,
    for its supervisor to start it again. When the topic is there, a group whose offset is beyond
    its end hides nothing (G1, G10).

    Partitions that are added are read from their start, by the worker that runs. When the topic
    is deleted and made again, the worker stays, reads nothing as if it were the old log, and
    names `poste epoch` (G1, G4, G10)."""
    deployment.init(partitions=1)
    deployment.delete_topic()
    early = deployment.worker()

    assert await deployment.exited(early) == 1
    assert f"there is no topic '{deployment.topic}' at the broker" in early.output()
    assert "Traceback" not in early.output()

    await deployment.create_topic_again(1)
    await deployment.produce([("bob", b"%d" % n) for n in range(5)])
    deployment.move_group(1_000)
    worker = trapped(deployment, "metadata=1")
    await deployment.said("the group's offset 1000 is above progress 0 and is not followed")
    deployment.admin.add_partitions(deployment.topic, 2)
    await deployment.produce([{"key": "ann", "value": b"old", "partition": 1}])
    await deployment.drained()
    assert await deployment.bodies("bob") == [b"%d" % n for n in range(5)]
    assert await deployment.bodies("ann") == [b"old"]

    deployment.delete_topic()
    await deployment.create_topic_again(1)
    await deployment.said("poste epoch")
    await deployment.produce([("bob", b"new")])
    assert worker.alive
    assert await deployment.bodies("bob") == [b"%d" % n for n in range(5)]
