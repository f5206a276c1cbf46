"""Deliberate moves on a real broker, with members of the new group protocol, and without rights."""

import signal
from typing import Any

import pytest

from tests.integration.conftest import SecuredScene
from tests.new_protocol import new_protocol_member
from tests.scene import Scene

MOVES = [
    ("skip", "--partition", "0", "--to", "8"), ("rewind", "--to", "0"), ("epoch",),
]  # fmt: skip


async def _moved(scene: Scene) -> list[dict[str, Any]]:
    """Ten records in one partition, of which a worker that is gone has read five; as it stands."""
    scene.init(partitions=1)
    await scene.produce([("bob", b"%d" % n) for n in range(5)])
    worker = scene.worker()
    await scene.drained()
    worker.signal(signal.SIGTERM)
    assert await scene.exited(worker) == 0
    await scene.produce([("bob", b"%d" % n) for n in range(5, 10)])
    return scene.progress()


@pytest.mark.parametrize("move", MOVES)
async def test_a_member_of_the_new_protocol_is_seen_before_anything_is_changed(
    scene: Scene, move: tuple[str, ...]
) -> None:
    """A description of classic groups does not know it, and the broker refuses the commit: then
    progress had been lowered already (G1). When it has left, the move is made."""
    before = await _moved(scene)
    with new_protocol_member(scene):
        dry = scene.poste(*move, check=False)
        done = scene.poste(*move, "--yes", check=False)
        during = scene.progress()
    after = scene.poste(*move, "--yes")

    for refused in (dry, done):
        assert refused.returncode == 1
        assert refused.stderr == (
            f"poste: consumers of the group '{scene.group}' are running: stop them, and try again\n"
        )
    assert during == before
    assert "done: start the workers" in after.stdout
    assert scene.progress() != before


@pytest.mark.parametrize("move", MOVES)
async def test_a_move_without_the_right_to_commit_changes_nothing(
    secured_scene: SecuredScene, move: tuple[str, ...]
) -> None:
    """The group may be described and not committed for: the line says so, the table is as it was,
    and with the permission the same command goes on (G1)."""
    scene = secured_scene
    before = await _moved(scene)
    scene.allow(["Read", "Describe"], "--topic", scene.topic)
    scene.allow(["Describe"], "--group", scene.group)
    refused = scene.poste(*move, "--yes", check=False, **scene.as_user)
    assert refused.returncode == 1
    assert "refuses: " in refused.stderr
    assert "GroupAuthorizationFailedError" in refused.stderr
    assert scene.progress() == before

    scene.allow(["Read"], "--group", scene.group)
    done = scene.poste(*move, "--yes", check=False, **scene.as_user)
    assert done.returncode == 0, done.stderr
    assert scene.progress() != before


async def test_a_group_that_may_not_be_described_is_not_taken_for_an_empty_one(
    secured_scene: SecuredScene,
) -> None:
    """Its members could not be seen (G1)."""
    scene = secured_scene
    before = await _moved(scene)
    scene.allow(["Read", "Describe"], "--topic", scene.topic)
    refused = scene.poste("rewind", "--to", "0", check=False, **scene.as_user)

    assert refused.returncode == 1
    assert "GroupAuthorizationFailedError" in refused.stderr
    assert scene.progress() == before
