"""Members that wait, look-ups that are slow, rebalances in each other's way."""

from tests.integration.trapping import assigned, commit_group, hold, trapped
from tests.scene import Scene, expected, signal

USERS = [f"user-{n}" for n in range(8)]


def chat(begin: int, end: int) -> list[tuple[str, bytes]]:
    return [(USERS[n % len(USERS)], b"%d" % n) for n in range(begin, end)]


async def assert_read(scene: Scene, records: list[tuple[str, bytes]]) -> None:
    for user in USERS:
        assert await scene.bodies(user) == expected(records, user)


async def test_a_spare_member_takes_over_after_idling(scene: Scene) -> None:
    """Neither a member without partitions nor one without records leaves the group, however long
    past the poll interval, and one that was late with its poll comes back to it; the spare takes
    over when the other ends (G1)."""
    scene.init(partitions=1)
    late = trapped(scene, "poll_interval=4", "late_poll")
    await scene.until(lambda: len(assigned(late)) == 2, "it has left, and come back")
    workers = [late, trapped(scene, "poll_interval=4")]
    await scene.said("idle with 0 partitions")
    assert scene.log().count("revoked: partitions") == 2  # it left, and another joined
    (spare,) = [w for w in workers if "idle with 0 partitions" in w.output()]
    (owner,) = [w for w in workers if w is not spare]
    before = len(assigned(spare))
    owner.signal(signal.SIGTERM)
    await scene.produce([("bob", b"1")])
    await scene.drained()

    assert await scene.bodies("bob") == [b"1"]
    assert assigned(spare)[before:] == [[0]]


async def test_an_answer_to_a_question_of_an_earlier_assignment_is_not_taken(
    scene: Scene,
) -> None:
    """A look-up that takes longer than Faust waits for one (then Faust goes on without it): the
    member stays in its group, nothing is read from a position that nobody chose. Its answer comes
    two rebalances later, when it is old, and moves nothing (G1, G2)."""
    scene.init(partitions=2)
    records = chat(0, 200)
    await scene.produce(records)
    gate = hold(scene, "look-up")
    slow = trapped(scene, "hold_first_look_up", "request_timeout=2")
    await scene.until(lambda: "trap: held up for long" in slow.output(), "a slow look-up")
    assert len(assigned(slow)) == 1
    assert "reading from" not in slow.output()

    other = scene.worker()
    await scene.until(lambda: len(assigned(slow)) == 2, "a rebalance")
    await scene.drained()
    other.signal(signal.SIGTERM)
    assert await scene.exited(other) == 0
    await scene.until(lambda: slow.output().count("reading from") == 3, "one more")
    more = chat(200, 300)
    await scene.produce(more)
    gate.unlink()
    await scene.until(lambda: "trap: released by look-up" in slow.output(), "the old answer")
    last = chat(300, 400)
    await scene.produce(last)
    await scene.drained()

    assert slow.alive
    assert slow.output().count("reading from") == 3
    await assert_read(scene, records + more + last)


async def test_sigterm_in_the_middle_of_two_rebalances(scene: Scene) -> None:
    """A worker that drains for one rebalance, when the next one begins, is told to stop: it
    finishes the write that it has in work and leaves with status 0; the others go on, without
    Faust's compiled streams too (G1, G5)."""
    scene.init(partitions=2)
    records = chat(0, 400)
    gate = hold(scene, "write-0")
    leaving = trapped(scene, "hold_writes", POSTE_BATCH__RECORDS_MAX="20")
    await scene.produce(records[:200])
    await scene.until(lambda: "trap: held up by write-0" in leaving.output(), "it writes")
    scene.worker(NO_CYTHON="1")
    await scene.until(lambda: "trap: draining" in leaving.output(), "it drains for a rebalance")
    scene.worker(NO_CYTHON="1")
    leaving.signal(signal.SIGTERM)
    await scene.produce(records[200:])
    gate.unlink()

    assert await scene.exited(leaving) == 0
    await scene.drained()
    await assert_read(scene, records)


async def test_what_happens_to_the_topic_before_and_under_a_worker(scene: Scene) -> None:
    """Faust would idle without a word: a worker without its topic says so in one line and exits,
    for its supervisor to start it again. When the topic is there, a group whose offset is beyond
    its end hides nothing (G1, G10).

    Partitions that are added are read from their start, by the worker that runs. When the topic
    is deleted and made again, the worker stays, reads nothing as if it were the old log, and
    names `poste epoch` (G1, G4, G10)."""
    scene.init(partitions=1)
    scene.delete_topic()
    early = scene.worker()

    assert await scene.exited(early) == 1
    assert f"there is no topic '{scene.topic}' at the broker" in early.output()
    assert "Traceback" not in early.output()

    await scene.until(lambda: _created(scene), "the topic appears")
    await scene.produce([("bob", b"%d" % n) for n in range(5)])
    await commit_group(scene, 0, 1_000)
    worker = trapped(scene, "metadata=1")
    await scene.said("the group's offset 1000 is above progress 0 and is not followed")
    scene.tool(
        "org.apache.kafka.tools.TopicCommand", "--alter", "--topic", scene.topic,
        "--partitions", "2",
    )  # fmt: skip
    await scene.produce([{"key": "ann", "value": b"old", "partition": 1}])
    await scene.drained()
    assert await scene.bodies("bob") == [b"%d" % n for n in range(5)]
    assert await scene.bodies("ann") == [b"old"]

    scene.delete_topic()
    await scene.until(lambda: _created(scene), "the topic is made again")
    await scene.said("poste epoch")
    await scene.produce([("bob", b"new")])
    assert worker.alive
    assert await scene.bodies("bob") == [b"%d" % n for n in range(5)]


def _created(scene: Scene) -> bool:
    try:
        scene.create_topic(1)
    except RuntimeError:  # the deleted one is still being removed
        return False
    return True
