"""What a worker with nothing to do asks of the store: whether it answers, and nothing else."""

import asyncio
from collections import Counter

from benchmarks.endpoint import recorded, recording_endpoint
from local import DYNAMODB_ADDRESS
from tests.deployment import Deployment

#: Seconds between two commits, and how many of them an idle worker is watched for.
COMMIT_S, COMMITS = 0.2, 10
#: What `worker.health` asks every `CHECK_EVERY_S`, for `/readyz`: the table record.
LOOK = "GetItem"


def asked(endpoint: str) -> Counter[str]:
    """What was asked since the last time, but for that look; it comes now and then."""
    calls = Counter({name: one.calls for name, one in recorded(endpoint).calls.items()})
    assert calls.pop(LOOK, 0) <= 2
    return calls


async def test_an_idle_worker_asks_the_store_only_whether_it_answers(
    deployment: Deployment,
) -> None:
    """Over many commit intervals: progress that has not moved is not written, and nothing is looked
    at without a reason; one message is one write and one progress (G8)."""
    deployment.init(partitions=8)
    with recording_endpoint(deployment.topic, 8) as endpoint:
        deployment.worker(
            **{
                DYNAMODB_ADDRESS: endpoint,
                "POSTE_DYNAMODB__TABLE": "mailboxes",
                "POSTE_KAFKA__COMMIT_INTERVAL_S": str(COMMIT_S),
                "POSTE_FRESHNESS_S": "0",  # else it claims how fresh its partitions are
            }
        )
        await deployment.until(
            lambda: deployment.log().count("reading from offset") == 8, "it reads"
        )
        recorded(endpoint)  # what a start asks
        await asyncio.sleep(COMMITS * COMMIT_S)  # that nothing happens is seen by waiting
        assert asked(endpoint) == {}

        await deployment.produce([("bob", b"000000000001 hello")])
        calls: Counter[str] = Counter()

        def committed() -> bool:
            calls.update(asked(endpoint))
            return "UpdateItem" in calls

        await deployment.until(committed, "its progress is written")
        assert calls == {"BatchWriteItem": 1, "UpdateItem": 1}
        await asyncio.sleep(COMMITS * COMMIT_S)
        assert asked(endpoint) == {}
