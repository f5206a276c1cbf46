"""One mailbox that the store throttles, and workers that come and go meanwhile."""

from tests.conftest import Address
from tests.endpoint import Call, Fault, FaultyEndpoint, assert_met
from tests.integration.trapping import last
from tests.scene import Scene, expected, signal

#: Seconds that a drain may take by the settings: longer than the test waits for anything.
DRAIN_S = 600.0
PARTITIONS = 4


def throttled(call: Call) -> Fault | None:
    """As a table does whose partition holds one hot user."""
    hot = any(item["user_id"]["S"] == "hot" for item in call.puts())
    return Fault.PROVISIONED_THROUGHPUT if hot else None


async def test_a_throttled_mailbox_holds_up_no_rebalance_and_no_stop(
    scene: Scene, dynamodb: Address
) -> None:
    """A worker joins, and one is told to stop, while the store takes nothing for one user: the
    other partitions change hands at once and go on, what waits is written by the next owner, and
    nothing is lost or doubled (G1, G2, G5, G8)."""
    scene.init(partitions=PARTITIONS)
    with FaultyEndpoint(dynamodb.endpoint, plan=throttled) as endpoint:
        env = {"AWS_ENDPOINT_URL_DYNAMODB": endpoint.url, "POSTE_DRAIN_S": f"{DRAIN_S:g}"}
        first = scene.worker(**env)
        await scene.until(lambda: len(last(first)) == PARTITIONS, "it has all partitions")
        sent = [(user, b"%d" % n) for n in range(40) for user in ("hot", "a", "b", "c")]
        await _produce(scene, sent[:80])
        await scene.said("waiting for DynamoDB")

        second = scene.worker(**env)
        await scene.until(lambda: len(last(second)) == PARTITIONS // 2, "it has joined")
        await _produce(scene, sent[80:])
        await _delivered(scene, sent)

        leaving = first if 0 in last(first) else second
        (staying,) = {first, second} - {leaving}
        leaving.signal(signal.SIGTERM)
        assert await scene.exited(leaving) == 0
        await scene.until(lambda: len(last(staying)) == PARTITIONS, "all is the other's")
        assert "drain ended: the flushes of partitions [0] wait" in scene.log()
        assert await scene.bodies("hot") == []

        endpoint.use(lambda _: None)
        await scene.drained()
        assert_met(endpoint, [Fault.PROVISIONED_THROUGHPUT])
    assert await scene.bodies("hot") == expected(sent, "hot")
    await _delivered(scene, sent)


async def _produce(scene: Scene, sent: list[tuple[str, bytes]]) -> None:
    """Each user in a partition of its own; the hot one in the first."""
    partitions = {"hot": 0, "a": 1, "b": 2, "c": 3}
    await scene.produce(
        {"key": user, "value": body, "partition": partitions[user]} for user, body in sent
    )


async def _delivered(scene: Scene, sent: list[tuple[str, bytes]]) -> None:
    for user in ("a", "b", "c"):

        async def arrived(user: str = user) -> bool:
            return await scene.bodies(user) == expected(sent, user)

        await scene.until(arrived, f"{user} has all")
