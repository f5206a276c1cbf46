"""What a worker is doing, for its health endpoints and its log. Pure.

The wiring enters a phase, the consumer enters `JOINING` and `JOINED`, and the HTTP server reads.
"""

import time
from collections.abc import Callable
from enum import StrEnum


class Phase(StrEnum):
    """What a worker is doing, in the order in which a start goes through it."""

    STARTING = "starting"
    WAITING_FOR_DYNAMODB = "waiting for DynamoDB"
    WAITING_FOR_KAFKA = "waiting for Kafka"
    #: The group has given it no assignment yet, or took the last one back.
    JOINING = "joining"
    #: The group has given it an assignment, which may be empty.
    JOINED = "joined"
    STOPPING = "stopping"


class WorkerStatus:
    """The phase that a worker is in, since when, and why it goes on.

    phase: as of `Phase`. since_s: seconds since the Unix epoch at which it was entered. detail: one
    line for the operator, empty where there is nothing to say.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.phase = Phase.STARTING
        self.since_s = clock()
        self.detail = ""

    def enter(self, phase: Phase, detail: str = "") -> None:
        """Enter a phase, or give the one it is in another detail. A worker that stops stops."""
        if self.phase is Phase.STOPPING and phase is not Phase.STOPPING:
            return
        if phase is not self.phase:
            self.phase, self.since_s = phase, self._clock()
        self.detail = detail

    def explain(self, phase: Phase, detail: str) -> None:
        """Give a phase another detail, unless the worker is in another phase by now."""
        if self.phase is phase:
            self.detail = detail

    @property
    def text(self) -> str:
        """The phase in words, with its detail: `joining: the group denies Read`."""
        return f"{self.phase}: {self.detail}" if self.detail else str(self.phase)
