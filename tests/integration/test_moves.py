"""Deliberate moves on a real broker, with members of the new group protocol, and without rights."""

import signal
from typing import Any

import pytest

from tests.deployment import Deployment
from tests.integration.conftest import SecuredDeployment
from tests.new_protocol import new_protocol_member

MOVES = [
    ("skip", "--partition", "0", "--to", "8"), ("rewind", "--to", "0"), ("epoch",),
]  # fmt: skip


async def _moved(deployment: Deployment) -> list[dict[str, Any]]:
    """Ten records in one partition, of which a worker that is gone has read five; as it stands."""
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"%d" % n) for n in range(5)])
    worker = deployment.worker()
    await deployment.drained()
    worker.signal(signal.SIGTERM)
    assert await deployment.exited(worker) == 0
    await deployment.produce([("bob", b"%d" % n) for n in range(5, 10)])
    return deployment.progress()


@pytest.mark.parametrize("move", MOVES)
async def test_a_member_of_the_new_protocol_is_seen_before_anything_is_changed(
    deployment: Deployment, move: tuple[str, ...]
) -> None:
    """A description of classic groups does not know it, and the broker refuses the commit: then
    progress had been lowered already (G1). When it has left, the move is made."""
    before = await _moved(deployment)
    with new_protocol_member(deployment):
        dry = deployment.poste(*move, check=False)
        done = deployment.poste(*move, "--yes", check=False)
        during = deployment.progress()
    after = deployment.poste(*move, "--yes")

    for refused in (dry, done):
        assert refused.returncode == 1
        assert refused.stderr == (
            f"poste: consumers of the group '{deployment.group}' are running: stop them, and try"
            " again\n"
        )
    assert during == before
    assert "done: start the workers" in after.stdout
    assert deployment.progress() != before


@pytest.mark.parametrize("move", MOVES)
async def test_a_move_without_the_right_to_commit_changes_nothing(
    secured_deployment: SecuredDeployment, move: tuple[str, ...]
) -> None:
    """The group may be described and not committed for: the line says so, the table is as it was,
    and with the permission the same command goes on (G1)."""
    deployment = secured_deployment
    before = await _moved(deployment)
    deployment.allow(["READ", "DESCRIBE"], "TOPIC", deployment.topic)
    deployment.allow(["DESCRIBE"], "GROUP", deployment.group)
    refused = deployment.poste(*move, "--yes", check=False, **deployment.as_user)
    assert refused.returncode == 1
    assert "refuses: " in refused.stderr
    assert "GroupAuthorizationFailedError" in refused.stderr
    assert deployment.progress() == before

    deployment.allow(["READ"], "GROUP", deployment.group)
    done = deployment.poste(*move, "--yes", check=False, **deployment.as_user)
    assert done.returncode == 0, done.stderr
    assert deployment.progress() != before


async def test_a_group_that_may_not_be_described_is_not_taken_for_an_empty_one(
    secured_deployment: SecuredDeployment,
) -> None:
    """Its members could not be seen (G1)."""
    deployment = secured_deployment
    before = await _moved(deployment)
    deployment.allow(["READ", "DESCRIBE"], "TOPIC", deployment.topic)
    refused = deployment.poste("rewind", "--to", "0", check=False, **deployment.as_user)

    assert refused.returncode == 1
    assert "GroupAuthorizationFailedError" in refused.stderr
    assert deployment.progress() == before
