"""What a worker with nothing to do asks of the store: whether it answers, and nothing else."""

import asyncio
from collections import Counter

from benchmarks.endpoint import recorded, recording_endpoint
from tests.scene import Scene
from tests.services import DYNAMODB_ADDRESS

#: Seconds between two commits, and how many of them an idle worker is watched for.
COMMIT_S, COMMITS = 0.2, 10
#: What `worker.health` asks every `CHECK_EVERY_S`, for `/readyz`: the table record.
LOOK = "GetItem"


def asked(endpoint: str) -> Counter[str]:
    """What was asked since the last time, but for that look; it comes now and then."""
    calls = Counter({name: one.calls for name, one in recorded(endpoint).calls.items()})
    assert calls.pop(LOOK, 0) <= 2
    return calls


async def test_an_idle_worker_asks_the_store_only_whether_it_answers(scene: Scene) -> None:
    """Over many commit intervals: progress that has not moved is not written, and nothing is looked
    at without a reason; one message is one write and one progress (G8)."""
    scene.init(partitions=8)
    with recording_endpoint(scene.topic, 8) as endpoint:
        scene.worker(
            **{
                DYNAMODB_ADDRESS: endpoint,
                "POSTE_DYNAMODB__TABLE": "mailboxes",
                "POSTE_KAFKA__COMMIT_INTERVAL_S": str(COMMIT_S),
            }
        )
        await scene.until(lambda: scene.log().count("reading from offset") == 8, "it reads")
        recorded(endpoint)  # what a start asks
        await asyncio.sleep(COMMITS * COMMIT_S)  # that nothing happens is seen by waiting
        assert asked(endpoint) == {}

        await scene.produce([("bob", b"000000000001 hello")])
        calls: Counter[str] = Counter()

        def committed() -> bool:
            calls.update(asked(endpoint))
            return "UpdateItem" in calls

        await scene.until(committed, "its progress is written")
        assert calls == {"BatchWriteItem": 1, "UpdateItem": 1}
        await asyncio.sleep(COMMITS * COMMIT_S)
        assert asked(endpoint) == {}
