"""What the worker and the command raise on purpose.

    WorkerError
    ├── BadRecord                a record cannot become a message: it becomes a dead letter
    ├── OperatorError            an operator must act: one clear line, exit status 1
    │   ├── ConfigurationError   wrong configuration, exit status 2
    │   ├── TableReplaced        the table, or its epoch, is not the one this worker began with
    │   ├── TooManyDeadLetters   consecutive dead letters that look like a bad deploy
    │   ├── ProgressMovedBack    stored progress is below what this worker last saw there
    │   ├── ProgressChanged      stored progress was written by another process
    │   └── StalledError         no progress though all services answer: restart this worker
    ├── StoreRefusal             the store refused one call, for a reason its caller knows
    │   ├── ItemRefused          an item of the call is not accepted, whatever its table
    │   └── ConditionFailed      the condition of the call does not hold
    └── Bug                      the worker broke one of its own rules

An unavailable store or broker is no error: the worker waits for it.
"""

from enum import StrEnum


class DeadLetterReason(StrEnum):
    """Why a record became a dead letter: the closed list of its header's values."""

    NO_USER_ID = "no_user_id"
    USER_ID_TOO_LONG = "user_id_too_long"
    USER_ID_NOT_UTF8 = "user_id_not_utf8"
    NO_BODY = "no_body"
    TOO_LARGE = "too_large"
    MALFORMED_CLOUDEVENT = "malformed_cloudevent"
    REJECTED_BY_STORE = "rejected_by_store"
    DECODER_FAILED = "decoder_failed"


class WorkerError(Exception):
    """Base of everything that the worker raises on purpose."""


class BadRecord(WorkerError):  # noqa: N818 - the contract's name, said as a state
    """A record cannot become a message. `detail` gives the reason, without the body."""

    def __init__(self, reason: DeadLetterReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class OperatorError(WorkerError):
    """An operator must act; the text is one line that says how. The process ends."""

    exit_status = 1


class ConfigurationError(OperatorError):
    """The configuration is wrong, so a restart with the same one cannot help."""

    exit_status = 2


class TableReplaced(OperatorError):  # noqa: N818 - said as a state
    """The table, or the epoch of a partition, is not the one this worker began with."""


class TooManyDeadLetters(OperatorError):  # noqa: N818 - said as a state
    """More consecutive dead letters than allowed: a bad deploy must not drain the topic."""


class ProgressMovedBack(OperatorError):  # noqa: N818 - said as a state
    """Stored progress is below what this worker last saw: a restored table, or a rewind."""


class StalledError(OperatorError):
    """No progress although there is work and all services answer. Only a restart helps."""


class ProgressChanged(OperatorError):  # noqa: N818 - said as a state
    """Stored progress differs from what was just read: another process wrote it. For a command that
    is a worker, where none may run; for a worker, one that has lost the partition."""


class StoreRefusal(WorkerError):  # noqa: N818 - said as a state
    """The store refused one call. Its caller knows what that means."""


class ItemRefused(StoreRefusal):
    """No table accepts an item of the call: too large, or a value that is not allowed."""


class ConditionFailed(StoreRefusal):
    """The condition of the call does not hold."""


class Bug(WorkerError):  # noqa: N818 - said as a state
    """The worker broke one of its own rules. The process ends, and nothing more is committed."""
