"""One mailbox that the store throttles, and workers that come and go meanwhile."""

from tests.conftest import Address
from tests.deployment import Deployment, expected, signal
from tests.fault_proxy import Call, Fault, FaultyEndpoint, assert_met
from tests.integration.trapping import last

#: Seconds that a drain may take by the settings: longer than the test waits for anything.
DRAIN_S = 600.0
PARTITIONS = 4


def throttled(call: Call) -> Fault | None:
    """As a table does whose partition holds one hot user."""
    hot = any(item["user_id"]["S"] == "hot" for item in call.puts())
    return Fault.PROVISIONED_THROUGHPUT if hot else None


async def test_a_throttled_mailbox_holds_up_no_rebalance_and_no_stop(
    deployment: Deployment, dynamodb: Address
) -> None:
    """A worker joins, and one is told to stop, while the store takes nothing for one user: the
    other partitions change hands at once and go on, what waits is written by the next owner, and
    nothing is lost or doubled (G1, G2, G5, G8)."""
    deployment.init(partitions=PARTITIONS)
    with FaultyEndpoint(dynamodb.endpoint, plan=throttled) as endpoint:
        env = {"AWS_ENDPOINT_URL_DYNAMODB": endpoint.url, "POSTE_DRAIN_S": f"{DRAIN_S:g}"}
        first = deployment.worker(**env)
        await deployment.until(lambda: len(last(first)) == PARTITIONS, "it has all partitions")
        sent = [(user, b"%d" % n) for n in range(40) for user in ("hot", "a", "b", "c")]
        await _produce(deployment, sent[:80])
        await deployment.said("waiting for DynamoDB")

        second = deployment.worker(**env)
        await deployment.until(lambda: len(last(second)) == PARTITIONS // 2, "it has joined")
        await _produce(deployment, sent[80:])
        await _delivered(deployment, sent)

        leaving = first if 0 in last(first) else second
        (staying,) = {first, second} - {leaving}
        leaving.signal(signal.SIGTERM)
        assert await deployment.exited(leaving) == 0
        await deployment.until(lambda: len(last(staying)) == PARTITIONS, "all is the other's")
        assert "drain ended: the flushes of partitions [0] wait" in deployment.log()
        assert await deployment.bodies("hot") == []

        endpoint.use(lambda _: None)
        await deployment.drained()
        assert_met(endpoint, [Fault.PROVISIONED_THROUGHPUT])
    assert await deployment.bodies("hot") == expected(sent, "hot")
    await _delivered(deployment, sent)


async def _produce(deployment: Deployment, sent: list[tuple[str, bytes]]) -> None:
    """Each user in a partition of its own; the hot one in the first."""
    partitions = {"hot": 0, "a": 1, "b": 2, "c": 3}
    await deployment.produce(
        {"key": user, "value": body, "partition": partitions[user]} for user, body in sent
    )


async def _delivered(deployment: Deployment, sent: list[tuple[str, bytes]]) -> None:
    for user in ("a", "b", "c"):

        async def arrived(user: str = user) -> bool:
            return await deployment.bodies(user) == expected(sent, user)

        await deployment.until(arrived, f"{user} has all")
