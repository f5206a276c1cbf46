"""What an operator, retention or a replaced table does to a running system."""

import json
import signal
from typing import Any

import aioboto3

from poste_restante.table import TABLE_SCHEMA
from tests.scene import Scene


async def _stop(scene: Scene, worker: Any) -> None:
    worker.signal(signal.SIGTERM)
    assert await scene.exited(worker) == 0


async def test_a_recreated_topic_stays_closed_until_an_epoch_is_opened(scene: Scene) -> None:
    """Partitions whose log is not the one that was read are refused one by one, the others go
    on; `poste epoch` opens the second life, and old cursors do not hide it (G4, G10)."""
    scene.init(partitions=2)
    first = scene.worker()
    await scene.produce([{"key": "bob", "value": b"%d" % n, "partition": 0} for n in range(5)])
    await scene.drained()
    async with scene.mailboxes() as mailboxes:
        page = await mailboxes.fetch("bob")
        assert page.receipt is not None
        await mailboxes.ack("bob", page.receipt)
    await _stop(scene, first)
    scene.delete_topic()
    await scene.until(lambda: _created(scene), "the topic is made again")
    await scene.produce(
        [
            *({"key": "bob", "value": b"new %d" % n, "partition": 0} for n in range(7)),
            {"key": "alice", "value": b"hi", "partition": 1},
        ]
    )
    second = scene.worker(POSTE_HTTP__PORT="0")
    await scene.said("poste epoch")
    await scene.until(lambda: _read_is(scene, "alice", [b"hi"]), "the other partition goes on")

    assert second.alive
    assert await scene.bodies("bob") == []
    refused = scene.poste("epoch", "--yes", check=False)
    assert refused.returncode == 1
    assert "running: stop them" in refused.stderr

    await _stop(scene, second)
    assert "would move" in scene.poste("epoch").stdout
    scene.poste("epoch", "--yes")
    scene.worker()
    await scene.drained()

    assert await scene.bodies("bob") == [b"new %d" % n for n in range(7)]
    assert [p["epoch"] for p in scene.progress()] == [2, 2]


def _created(scene: Scene) -> bool:
    try:
        scene.create_topic(2)
    except RuntimeError:  # the old one is still being removed
        return False
    return True


async def _read_is(scene: Scene, user: str, wanted: list[bytes]) -> bool:
    return await scene.bodies(user) == wanted


async def test_a_retention_gap_is_reported_with_its_range(scene: Scene) -> None:
    """Records that retention removed unread are an error with the exact range; the rest goes on,
    and the range is never asked for again (G1)."""
    scene.init(partitions=1)
    first = scene.worker()
    await scene.produce([("bob", b"%d" % n) for n in range(10)])
    await scene.drained()
    await _stop(scene, first)
    await scene.produce([("bob", b"%d" % n) for n in range(10, 30)])
    offsets = [{"topic": scene.topic, "partition": 0, "offset": 25}]
    # By its standard input: in Docker the tool runs where no file of ours is.
    scene.tool(
        "org.apache.kafka.tools.DeleteRecordsCommand", "--offset-json-file", "/dev/stdin",
        text=json.dumps({"version": 1, "partitions": offsets}),
    )  # fmt: skip
    scene.worker()
    await scene.said("offsets 10 to 24 were removed by retention")
    await scene.drained()

    wanted = [b"%d" % n for n in [*range(10), *range(25, 30)]]
    assert await scene.bodies("bob") == wanted
    assert scene.progress()[0]["origin"] == 25


async def test_a_replaced_table_ends_the_worker(scene: Scene) -> None:
    """A table that is not the one the worker began with gets no progress of it (G1)."""
    scene.init(partitions=1)
    worker = scene.worker()
    await scene.produce([("bob", b"1")])
    await scene.drained()
    async with aioboto3.Session().client("dynamodb") as client:
        await client.delete_table(TableName=scene.table)
        await client.create_table(TableName=scene.table, **TABLE_SCHEMA)
    scene.poste("init")
    await scene.produce([("bob", b"2")])

    assert await scene.exited(worker) == 1
    assert "the table was replaced" in scene.log()
    assert "Traceback" not in scene.log()
    assert scene.progress()[0]["next"] is None


async def test_skip_leaves_out_and_rewind_brings_back_what_is_above_the_origin(
    scene: Scene,
) -> None:
    """Deliberate moves, with the workers stopped: what was skipped is never delivered, and a
    rewind replays from a window border or the origin (G2, G4)."""
    scene.init(partitions=1)
    await scene.produce([("bob", b"%d" % n) for n in range(20)])
    first = scene.worker()
    await scene.drained()
    await _stop(scene, first)
    await scene.produce([("bob", b"%d" % n) for n in range(20, 30)])
    scene.poste("skip", "--partition", "0", "--to", "25", "--yes")
    second = scene.worker()
    await scene.drained()
    await _stop(scene, second)

    wanted = [b"%d" % n for n in [*range(20), *range(25, 30)]]
    assert await scene.bodies("bob") == wanted

    assert "progress 30 -> 25" in scene.poste("rewind", "--to", "3", "--yes").stdout
    scene.worker()
    await scene.drained()
    assert await scene.bodies("bob") == wanted


async def test_a_worker_starts_where_it_is_told_and_only_once(scene: Scene) -> None:
    """`kafka.start = latest` is written down at the first start and not consulted again (G1)."""
    scene.init(partitions=1)
    await scene.produce([("bob", b"old")])
    first = scene.worker(POSTE_KAFKA__START="latest")
    await scene.said("begins at offset 1")
    await _stop(scene, first)
    await scene.produce([("bob", b"new")])
    scene.worker(POSTE_KAFKA__START="latest")
    await scene.drained()

    assert await scene.bodies("bob") == [b"new"]
    assert scene.progress()[0]["origin"] == 1


async def test_starting_at_a_group_without_an_offset_is_refused(scene: Scene) -> None:
    """Taking over from a consumer that never committed would be a guess (G1)."""
    scene.init(partitions=1)
    worker = scene.worker(POSTE_KAFKA__START="group")

    assert await scene.exited(worker) == 1
    assert "the group has no offset" in scene.log()
    assert "Traceback" not in scene.log()


async def test_partitions_above_the_limit_are_left_unread_until_another_worker_comes(
    scene: Scene,
) -> None:
    """The surplus is reported, never an exit; a second worker takes it (G8)."""
    scene.init(partitions=3)
    await scene.produce([{"key": "bob", "value": b"x", "partition": p} for p in range(3)])
    first = scene.worker(POSTE_KAFKA__PARTITIONS_MAX="2")
    await scene.said("left unread: [2]")
    await scene.until(lambda: _count_is(scene, 2), "the others are read")
    scene.worker(POSTE_KAFKA__PARTITIONS_MAX="2")
    await scene.drained()

    assert first.alive
    assert len(await scene.read("bob")) == 3


async def _count_is(scene: Scene, count: int) -> bool:
    return len(await scene.read("bob")) == count


async def test_added_partitions_start_at_the_logs_start(scene: Scene) -> None:
    """A partition that the table record does not count is read from its start (G1)."""
    scene.init(partitions=1)
    first = scene.worker(POSTE_KAFKA__START="latest")
    await scene.said("begins at offset 0")
    await _stop(scene, first)
    scene.tool(
        "org.apache.kafka.tools.TopicCommand", "--alter", "--topic", scene.topic,
        "--partitions", "2",
    )  # fmt: skip
    await scene.produce([{"key": "bob", "value": b"x", "partition": 1}])
    scene.worker(POSTE_KAFKA__START="latest")
    await scene.drained()

    assert await scene.bodies("bob") == [b"x"]
