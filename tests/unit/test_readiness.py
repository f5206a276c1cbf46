"""Whether a worker is ready, for every phase and state of a partition."""

import json

import pytest

from tests.unit.test_opening import progress
from worker.assignment import Assignment
from worker.readiness import PartitionState, ReadinessNote, partition_states, readiness
from worker.status import Phase, WorkerStatus


def status(phase: Phase, detail: str = "") -> WorkerStatus:
    made = WorkerStatus(clock=lambda: 1_000_000_000.0)
    made.enter(phase, detail)
    return made


def all_read(*partitions: int) -> Assignment:
    assignment = Assignment(partitions)
    for partition in partitions:
        assignment.open(partition, 40, progress(40))
    return assignment


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.JOINED])
def test_readiness_in_any_phase_but_joined_is_unready_and_says_which(phase: Phase) -> None:
    found = readiness(status(phase, "connection refused"), Assignment())
    assert not found.ready
    assert found.reasons == (f"{phase} since 2001-09-09T01:46:40Z: connection refused",)
    assert found.to_json()["phase"] == phase.name.lower()


def test_readiness_joined_without_a_partition_is_ready() -> None:
    found = readiness(status(Phase.JOINED), Assignment())
    assert found.ready
    assert found.to_json() == {
        "ready": True, "phase": "joined", "phase_since": "2001-09-09T01:46:40Z",
        "reasons": [], "partitions": {}, "notes": [],
    }  # fmt: skip


def test_readiness_every_partition_read_is_ready() -> None:
    found = readiness(status(Phase.JOINED), all_read(0, 3))
    assert found.ready
    assert {p: s.state for p, s in found.partitions.items()} == {0: "reading", 3: "reading"}


def test_readiness_partitions_not_read_are_unready_each_with_state_and_reason() -> None:
    """Programs compare the states, never the reasons."""
    assignment = Assignment([0, 1, 2, 3, 4], partitions_max=4)
    assignment.open(0, 40, progress(40))
    assignment.open(1, 40, progress(40))
    assignment.stop_reading(1, "a header name that is not UTF-8")
    assignment.stay_closed(2, "the topic was re-created")

    states = partition_states(assignment)
    assert {p: s.state for p, s in states.items()} == {
        0: PartitionState.READING,
        1: PartitionState.STUCK,
        2: PartitionState.CLOSED,
        3: PartitionState.OPENING,
        4: PartitionState.SURPLUS,
    }
    found = readiness(status(Phase.JOINED), assignment)
    assert [reason[:11] for reason in found.reasons] == [f"partition {p}" for p in (1, 2, 3, 4)]
    body = json.loads(json.dumps(found.to_json()))
    assert body["partitions"]["2"] == {"state": "closed", "reason": "the topic was re-created"}


def test_readiness_a_problem_of_a_service_is_unready() -> None:
    found = readiness(status(Phase.JOINED), all_read(0), problems=["DynamoDB does not answer"])
    assert not found.ready
    assert found.reasons == ("DynamoDB does not answer",)


def test_readiness_a_note_leaves_the_worker_ready() -> None:
    note = ReadinessNote("open_transaction", "a transaction is open", partition=0)
    found = readiness(status(Phase.JOINED), all_read(0), notes=[note])
    assert found.ready
    assert found.to_json()["notes"] == [
        {"kind": "open_transaction", "partition": 0, "text": "a transaction is open"}
    ]
