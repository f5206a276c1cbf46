"""What an operator, retention or a replaced table does to a running system."""

import signal
from typing import Any

import aioboto3

from poste_restante.table import TABLE_SCHEMA
from tests.deployment import Deployment


async def _stop(deployment: Deployment, worker: Any) -> None:
    worker.signal(signal.SIGTERM)
    assert await deployment.exited(worker) == 0


async def test_a_recreated_topic_stays_closed_until_an_epoch_is_opened(
    deployment: Deployment,
) -> None:
    """Partitions whose log is not the one that was read are refused one by one, the others go
    on; `poste epoch` opens the second life, and old cursors do not hide it (G4, G10)."""
    deployment.init(partitions=2)
    first = deployment.worker()
    await deployment.produce([{"key": "bob", "value": b"%d" % n, "partition": 0} for n in range(5)])
    await deployment.drained()
    async with deployment.mailboxes() as mailboxes:
        page = await mailboxes.fetch("bob")
        assert page.receipt is not None
        await mailboxes.ack("bob", page.receipt)
    await _stop(deployment, first)
    deployment.delete_topic()
    await deployment.create_topic_again(2)
    await deployment.produce(
        [
            *({"key": "bob", "value": b"new %d" % n, "partition": 0} for n in range(7)),
            {"key": "alice", "value": b"hi", "partition": 1},
        ]
    )
    second = deployment.worker(POSTE_HTTP__PORT="0")
    await deployment.said("poste epoch")
    await deployment.until(
        lambda: _read_is(deployment, "alice", [b"hi"]), "the other partition goes on"
    )

    assert second.alive
    assert await deployment.bodies("bob") == []
    refused = deployment.poste("epoch", "--yes", check=False)
    assert refused.returncode == 1
    assert "running: stop them" in refused.stderr

    await _stop(deployment, second)
    assert "would move" in deployment.poste("epoch").stdout
    deployment.poste("epoch", "--yes")
    deployment.worker()
    await deployment.drained()

    assert await deployment.bodies("bob") == [b"new %d" % n for n in range(7)]
    assert [p["epoch"] for p in deployment.progress()] == [2, 2]


async def _read_is(deployment: Deployment, user: str, wanted: list[bytes]) -> bool:
    return await deployment.bodies(user) == wanted


async def test_a_retention_gap_is_reported_with_its_range(deployment: Deployment) -> None:
    """Records that retention removed unread are an error with the exact range; the rest goes on,
    and the range is never asked for again (G1)."""
    deployment.init(partitions=1)
    first = deployment.worker()
    await deployment.produce([("bob", b"%d" % n) for n in range(10)])
    await deployment.drained()
    await _stop(deployment, first)
    await deployment.produce([("bob", b"%d" % n) for n in range(10, 30)])
    deployment.admin.delete_records(deployment.topic, 0, before=25)
    deployment.worker()
    await deployment.said("offsets 10 to 24 were removed by retention")
    await deployment.drained()

    wanted = [b"%d" % n for n in [*range(10), *range(25, 30)]]
    assert await deployment.bodies("bob") == wanted
    assert deployment.progress()[0]["origin"] == 25


async def test_a_replaced_table_ends_the_worker(deployment: Deployment) -> None:
    """A table that is not the one the worker began with gets no progress of it (G1)."""
    deployment.init(partitions=1)
    worker = deployment.worker()
    await deployment.produce([("bob", b"1")])
    await deployment.drained()
    async with aioboto3.Session().client("dynamodb") as client:
        await client.delete_table(TableName=deployment.table)
        await client.create_table(TableName=deployment.table, **TABLE_SCHEMA)
    deployment.poste("init")
    await deployment.produce([("bob", b"2")])

    assert await deployment.exited(worker) == 1
    assert "the table was replaced" in deployment.log()
    assert "Traceback" not in deployment.log()
    assert deployment.progress()[0]["next"] is None


async def test_skip_leaves_out_and_rewind_brings_back_what_is_above_the_origin(
    deployment: Deployment,
) -> None:
    """Deliberate moves, with the workers stopped: what was skipped is never delivered, and a
    rewind replays from a window border or the origin (G2, G4)."""
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"%d" % n) for n in range(20)])
    first = deployment.worker()
    await deployment.drained()
    await _stop(deployment, first)
    await deployment.produce([("bob", b"%d" % n) for n in range(20, 30)])
    deployment.poste("skip", "--partition", "0", "--to", "25", "--yes")
    second = deployment.worker()
    await deployment.drained()
    await _stop(deployment, second)

    wanted = [b"%d" % n for n in [*range(20), *range(25, 30)]]
    assert await deployment.bodies("bob") == wanted

    assert "progress 30 -> 25" in deployment.poste("rewind", "--to", "3", "--yes").stdout
    deployment.worker()
    await deployment.drained()
    assert await deployment.bodies("bob") == wanted


async def test_a_worker_starts_where_it_is_told_and_only_once(deployment: Deployment) -> None:
    """`kafka.start = latest` is written down at the first start and not consulted again (G1)."""
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"old")])
    first = deployment.worker(POSTE_KAFKA__START="latest")
    await deployment.said("begins at offset 1")
    await _stop(deployment, first)
    await deployment.produce([("bob", b"new")])
    deployment.worker(POSTE_KAFKA__START="latest")
    await deployment.drained()

    assert await deployment.bodies("bob") == [b"new"]
    assert deployment.progress()[0]["origin"] == 1


async def test_starting_at_a_group_without_an_offset_is_refused(deployment: Deployment) -> None:
    """Taking over from a consumer that never committed would be a guess (G1)."""
    deployment.init(partitions=1)
    worker = deployment.worker(POSTE_KAFKA__START="group")

    assert await deployment.exited(worker) == 1
    assert "the group has no offset" in deployment.log()
    assert "Traceback" not in deployment.log()


async def test_partitions_above_the_limit_are_left_unread_until_another_worker_comes(
    deployment: Deployment,
) -> None:
    """The surplus is reported, never an exit; a second worker takes it (G8)."""
    deployment.init(partitions=3)
    await deployment.produce([{"key": "bob", "value": b"x", "partition": p} for p in range(3)])
    first = deployment.worker(POSTE_KAFKA__PARTITIONS_MAX="2")
    await deployment.said("left unread: [2]")
    await deployment.until(lambda: _count_is(deployment, 2), "the others are read")
    deployment.worker(POSTE_KAFKA__PARTITIONS_MAX="2")
    await deployment.drained()

    assert first.alive
    assert len(await deployment.read("bob")) == 3


async def _count_is(deployment: Deployment, count: int) -> bool:
    return len(await deployment.read("bob")) == count


async def test_added_partitions_start_at_the_logs_start(deployment: Deployment) -> None:
    """A partition that the table record does not count is read from its start (G1)."""
    deployment.init(partitions=1)
    first = deployment.worker(POSTE_KAFKA__START="latest")
    await deployment.said("begins at offset 0")
    await _stop(deployment, first)
    deployment.admin.add_partitions(deployment.topic, 2)
    await deployment.produce([{"key": "bob", "value": b"x", "partition": 1}])
    deployment.worker(POSTE_KAFKA__START="latest")
    await deployment.drained()

    assert await deployment.bodies("bob") == [b"x"]
