"""Records and messages made for tests."""

from collections.abc import Sequence
from dataclasses import dataclass

from poste_restante.message import Message
from poste_restante.position import Position
from worker.record import RecordHeader
from worker.resume import LogState

TOPIC = "undelivered-messages"
#: 2026-01-01T00:00:00Z, epoch milliseconds.
NEW_YEAR_MS = 1_767_225_600_000


@dataclass(frozen=True)
class MadeRecord:
    """A record as a test wants it."""

    key: bytes | None = b"bob"
    value: bytes | None = b"hello"
    headers: Sequence[RecordHeader] = ()
    offset: int = 0
    timestamp: int | None = NEW_YEAR_MS
    partition: int = 3
    topic: str = TOPIC


def stable_log(start: int, end: int) -> LogState:
    """A partition's log without an open transaction: all of it can be read."""
    return LogState(start, end, stable_end=end)


def message(
    offset: int, user_id: str = "bob", body: bytes = b"hello", *, epoch: int = 1, partition: int = 3
) -> Message:
    """A plain message at a position."""
    position = Position(epoch, partition, offset)
    return Message(user_id=user_id, id=position.id(TOPIC), body=body, position=position)
