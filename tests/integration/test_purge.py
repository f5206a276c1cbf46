"""Erasure by command, on real services and beside live workers."""

import asyncio
import signal
import time
from typing import Any

import aioboto3

from poste_restante.position import CURSORS_END
from tests.deployment import Deployment
from tests.integration.test_cli import validated


async def items(deployment: Deployment, user: str) -> dict[str, Any]:
    """The stored items of a mailbox, by sort key."""
    async with aioboto3.Session().client("dynamodb") as client:
        answer = await client.query(
            TableName=deployment.table, ConsistentRead=True,
            KeyConditionExpression="user_id = :user",
            ExpressionAttributeValues={":user": {"S": user}},
        )  # fmt: skip
        return {item["position"]["S"]: item for item in answer["Items"]}


async def delete_bundles(deployment: Deployment, user: str) -> int:
    """By hand, as somebody would who knows nothing of cursors."""
    found = [key for key in await items(deployment, user) if key > CURSORS_END]
    async with aioboto3.Session().client("dynamodb") as client:
        for position in found:
            await client.delete_item(
                TableName=deployment.table,
                Key={"user_id": {"S": user}, "position": {"S": position}},
            )
    return len(found)


def purged(deployment: Deployment, user: str, *options: str) -> Any:
    return validated("purge", deployment.poste("purge", user, "--json", *options).stdout)


async def replay(deployment: Deployment) -> None:
    """Everything is materialized again, from the start of the topic."""
    for worker in deployment.workers:
        worker.signal(signal.SIGTERM)
    for worker in deployment.workers:
        await deployment.exited(worker)
    deployment.poste("rewind", "--to", "0", "--yes")
    deployment.worker()
    await deployment.drained()


async def test_no_replay_brings_back_what_was_purged(deployment: Deployment) -> None:
    """Of an account and its devices, beside a live worker. What was deleted by hand comes back;
    what arrives afterwards is shown, and its acknowledgement does not expire (G4, G12)."""
    deployment.init(partitions=2)
    users = ("bob", "!table", "carol", "eve")
    await deployment.produce([(user, b"%d" % n) for n in range(20) for user in users])
    deployment.worker()
    await deployment.drained()
    async with deployment.mailboxes() as mailboxes:
        page = await mailboxes.fetch("bob", limit=5, device="phone")
        await mailboxes.ack("bob", page.receipt, device="phone")
        await mailboxes.add_device("bob", "pad", "oldest")

    would = purged(deployment, "bob")
    assert (would["done"], would["cursors"], would["bundles"] > 0) == (False, 3, True)
    assert len(await deployment.bodies("bob")) == 20
    begun_s = time.time()
    done = purged(deployment, "bob", "--yes")
    assert (done["done"], done["bundles"], done["behind"]) == (True, would["bundles"], [])
    assert purged(deployment, "!table", "--yes")["bundles"] > 0
    assert await delete_bundles(deployment, "carol") > 0
    assert purged(deployment, "bob", "--yes")["bundles"] == 0
    assert "bundles" in deployment.poste("purge", "nobody").stdout

    await replay(deployment)
    assert len(await deployment.bodies("carol")) == 20
    assert len(await deployment.bodies("eve")) == 20
    assert await deployment.bodies("!table") == []
    async with deployment.mailboxes() as mailboxes:
        for device in (None, "phone", "pad", "tv"):
            assert (await mailboxes.fetch("bob", device=device)).messages == ()
    # What the replay wrote again goes with the next run; the cursors expire: the topic has Kafka's
    # default retention of 7 days, the table 30.
    assert purged(deployment, "bob", "--yes")["bundles"] > 0
    kept = await items(deployment, "bob")
    assert sorted(kept) == ["!", "!pad", "!phone"]
    for item in kept.values():
        assert 36 < (int(item["expires_at"]["N"]) - begun_s) / 86400 < 38

    await deployment.produce([("bob", b"new")])
    await deployment.drained()
    async with deployment.mailboxes() as mailboxes:
        page = await mailboxes.fetch("bob")
        assert [m.body for m in page.messages] == [b"new"]
        await mailboxes.ack("bob", page.receipt)
        assert (await mailboxes.fetch("bob")).messages == ()
    found = await items(deployment, "bob")
    assert "expires_at" not in found["!"]
    assert "purged_at" not in found["!"]
    assert "expires_at" in found["!pad"]


async def test_a_purge_beside_a_stream_hides_what_was_there_and_loses_nothing_after_it(
    deployment: Deployment,
) -> None:
    """Everything that the broker has acknowledged before the purge began is hidden; everything that
    was produced after it returned is shown, in order (G1, G4)."""
    deployment.init(partitions=1)
    deployment.worker()
    await deployment.produce([("bob", b"before %d" % n) for n in range(50)])
    ((_, last),) = await deployment.produce([("bob", b"before last")])
    done = await asyncio.to_thread(purged, deployment, "bob", "--yes")
    after = await deployment.produce([("bob", b"after %d" % n) for n in range(50)])
    await deployment.drained()
    shown = [m.position.offset for m in await deployment.read("bob")]

    assert done["done"]
    assert min(shown) > last
    assert shown == [offset for _, offset in after]
    again = purged(deployment, "bob", "--yes")
    assert again["behind"] == []
    assert await deployment.read("bob") == []


async def test_the_cursors_stay_where_the_topic_keeps_its_records(deployment: Deployment) -> None:
    """For ever, since a replay may come at any time (G4)."""
    deployment.create_topic(1, retention_ms="-1")
    deployment.init()
    await deployment.produce([("bob", b"x")])
    done = purged(deployment, "bob", "--yes")

    assert done["expires_at"] is None
    assert done["kept_because"] == "the topic keeps its records for ever"
    assert done["behind"] == [{"partition": 0, "offsets": 1}]
    assert "expires_at" not in (await items(deployment, "bob"))["!"]
    deployment.worker()
    await deployment.drained()
    assert await deployment.bodies("bob") == []
