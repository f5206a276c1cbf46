"""A worker that catches up leaves acknowledgements their room on a table that throttles."""

from pathlib import Path

from benchmarks.units.catch_up import Load, catch_up
from tests.conftest import Address
from tests.endpoint.throttling import ThrottlingEndpoint
from tests.scene import Scene
from tests.services import DYNAMODB_ADDRESS

#: Messages of the backlog: enough for the table to be short for seconds, and what a budget needs
#: seconds for.
FREE, HELD = Load(backlog=4_000), Load(backlog=1_200)


async def test_a_budget_keeps_a_catch_up_from_throttling_acknowledgements(
    scene: Scene, dynamodb: Address, tmp_path: Path
) -> None:
    """After an outage of the store, on a table of so many units a second: without a budget the
    table refuses acknowledgements, with one it refuses none (G7, G8)."""
    scene.init(partitions=4)
    with ThrottlingEndpoint(dynamodb.endpoint) as endpoint:
        scene.environment[DYNAMODB_ADDRESS] = endpoint.url
        free = await catch_up(scene, endpoint, FREE, budget=False, run="free")
        held = await catch_up(scene, endpoint, HELD, budget=True, run="held")

    assert free.refused_acks > 0
    assert free.refused_bundles > 0
    assert held.acks > 0
    assert (held.failed, held.refused_acks) == (0, 0)
    assert held.refused_bundles == 0
