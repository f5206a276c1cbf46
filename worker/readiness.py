"""Whether a worker is ready, and what `/readyz` reports about it. Pure.

A worker is ready while it is joined, Kafka and DynamoDB answer, and it reads every partition that
the group has assigned to it. Programs read the states; the reasons are for people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from worker.assignment import Assignment
from worker.status import Phase, WorkerStatus


class PartitionState(StrEnum):
    """State of an assigned partition. Only READING is ready."""

    READING = "reading"
    #: The request for its resume position has no answer yet.
    OPENING = "opening"
    #: In doubt, or the broker or the store does not answer about it; the worker asks again.
    CLOSED = "closed"
    #: The Kafka client cannot read its next record.
    STUCK = "stuck"
    #: Above `kafka.partitions_max`.
    SURPLUS = "surplus"


@dataclass(frozen=True, slots=True)
class PartitionReadiness:
    """One assigned partition. reason: one line for the operator, empty while it is read."""

    state: PartitionState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReadinessNote:
    """A note for the operator of a ready worker. kind: for programs, lower case with underscores.
    partition: if it concerns one."""

    kind: str
    text: str
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """The answer of `/readyz`.

    reasons: one line for each cause of an unready worker, the first cause first. phase_since_s:
    seconds since the Unix epoch.
    """

    phase: Phase
    phase_since_s: float
    reasons: tuple[str, ...] = ()
    partitions: Mapping[int, PartitionReadiness] = field(default_factory=dict)
    notes: tuple[ReadinessNote, ...] = ()

    @property
    def ready(self) -> bool:
        return not self.reasons

    def to_json(self) -> dict[str, Any]:
        """Return the body of `/readyz`, as docs/operations.md describes it."""
        since = datetime.fromtimestamp(self.phase_since_s, tz=UTC)
        return {
            "ready": self.ready,
            "phase": self.phase.name.lower(),
            "phase_since": since.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "reasons": list(self.reasons),
            "partitions": {
                str(partition): {"state": found.state, "reason": found.reason}
                for partition, found in sorted(self.partitions.items())
            },
            "notes": [
                {"kind": note.kind, "partition": note.partition, "text": note.text}
                for note in self.notes
            ],
        }


def readiness(
    status: WorkerStatus,
    assignment: Assignment,
    *,
    problems: Sequence[str] = (),
    notes: Sequence[ReadinessNote] = (),
) -> Readiness:
    """Return whether a worker is ready. assignment: its current one, empty while it has none.

    problems: one line for each service that has not answered for too long. notes: what an operator
    should know but does not make a worker unready.
    """
    reasons = [] if status.phase is Phase.JOINED else [_phase_in_words(status)]
    reasons += problems
    partitions = partition_states(assignment)
    reasons += [
        f"partition {partition} is {found.state}: {found.reason}"
        for partition, found in sorted(partitions.items())
        if found.state is not PartitionState.READING
    ]
    return Readiness(status.phase, status.since_s, tuple(reasons), partitions, tuple(notes))


def _phase_in_words(status: WorkerStatus) -> str:
    since = datetime.fromtimestamp(status.since_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    detail = f": {status.detail}" if status.detail else ""
    return f"{status.phase} since {since}{detail}"


def partition_states(assignment: Assignment) -> dict[int, PartitionReadiness]:
    """Return the state of every partition of an assignment."""
    states = {p: PartitionReadiness(PartitionState.READING) for p in assignment.tasks}
    for partition, reason in assignment.closed.items():
        opening = partition in assignment.opening
        state = PartitionState.OPENING if opening else PartitionState.CLOSED
        states[partition] = PartitionReadiness(state, reason)
    for partition, reason in assignment.stuck.items():
        states[partition] = PartitionReadiness(PartitionState.STUCK, reason)
    for partition in assignment.surplus:
        states[partition] = PartitionReadiness(
            PartitionState.SURPLUS,
            "above kafka.partitions_max: start more workers, or raise it",
        )
    return states
