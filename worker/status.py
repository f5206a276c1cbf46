"""The phase of a worker, for its health endpoints and its log. Pure.

The wiring enters phases, the consumer enters `JOINING` and `JOINED`, and the HTTP server reads.
"""

import time
from collections.abc import Callable
from enum import StrEnum


class Phase(StrEnum):
    """What a worker is doing, in the order of a start."""

    STARTING = "starting"
    WAITING_FOR_DYNAMODB = "waiting for DynamoDB"
    WAITING_FOR_KAFKA = "waiting for Kafka"
    #: The group has not assigned partitions yet, or has revoked the last assignment.
    JOINING = "joining"
    #: The group has given an assignment, which may be empty.
    JOINED = "joined"
    STOPPING = "stopping"


class WorkerStatus:
    """The phase of a worker, its start, and its reason.

    phase: see `Phase`. since_s: seconds since the Unix epoch at which it was entered. detail: one
    line for the operator, or empty. on_joined: called with the seconds that a rebalance took.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        on_joined: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._on_joined = on_joined
        self.phase = Phase.STARTING
        self.since_s = clock()
        self.detail = ""

    def enter(self, phase: Phase, detail: str = "") -> None:
        """Enter a phase, or change the detail of the current one. STOPPING is never left."""
        if self.phase is Phase.STOPPING and phase is not Phase.STOPPING:
            return
        if phase is not self.phase:
            now_s = self._clock()
            if self.phase is Phase.JOINING and phase is Phase.JOINED:
                self._on_joined(max(0.0, now_s - self.since_s))
            self.phase, self.since_s = phase, now_s
        self.detail = detail

    def explain(self, phase: Phase, detail: str) -> None:
        """Change the detail of a phase, unless the worker is in another one by now."""
        if self.phase is phase:
            self.detail = detail

    @property
    def text(self) -> str:
        """Return the phase in words, with its detail: `joining: the group denies Read`."""
        return f"{self.phase}: {self.detail}" if self.detail else str(self.phase)
