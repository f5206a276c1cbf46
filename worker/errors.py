"""What the worker and the command can raise on purpose.

    WorkerError
    ├── BadRecord                a record cannot become a message: it becomes a dead letter
    ├── OperatorError            somebody must act: one clear line, exit status 1
    │   ├── ConfigurationError   wrong configuration, exit status 2
    │   ├── TableReplaced        the table, or its epoch, is not the one this worker began with
    │   ├── TooManyDeadLetters   a run of dead letters that looks like a bad deploy
    │   ├── ProgressMovedBack    stored progress is below what this worker last saw there
    │   └── Standstill           no progress though everybody answers: start this worker anew
    ├── StoreRefusal             the store refused one call, for a reason its caller knows
    │   ├── ItemRefused          an item of the call is not accepted, whatever its table
    │   └── ConditionFailed      the condition of the call does not hold
    └── Bug                      we broke a rule of our own

A store or a broker that is away is no error: it is waited for.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a record became a dead letter: the closed list, as its header carries it."""

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
    """A record cannot become a message. `detail` says what is wrong, without the body."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class OperatorError(WorkerError):
    """Somebody must act; the text is one line that says what to do. The process ends."""

    exit_status = 1


class ConfigurationError(OperatorError):
    """The configuration is wrong: another start with the same one cannot help."""

    exit_status = 2


class TableReplaced(OperatorError):  # noqa: N818 - said as a state
    """The table, or the epoch of a partition, is not the one this worker began with."""


class TooManyDeadLetters(OperatorError):  # noqa: N818 - said as a state
    """More dead letters in a row than allowed: a bad deploy must not drain the topic."""


class ProgressMovedBack(OperatorError):  # noqa: N818 - said as a state
    """Stored progress is below what this worker last saw: a restored table, or a rewind."""


class StalledError(OperatorError):
    """No progress though there is something to do and everybody answers. Only a new start helps."""


class ProgressChanged(OperatorError):  # noqa: N818 - said as a state
    """Stored progress is not what was read a moment ago: somebody else has written it. To a command
    that is a worker, where none may run; to a worker it is one that has lost the partition."""


class StoreRefusal(WorkerError):  # noqa: N818 - said as a state
    """The store refused one call. Whoever made the call knows what that means."""


class ItemRefused(StoreRefusal):
    """An item of the call is not accepted by any table: too large, a value not allowed."""


class ConditionFailed(StoreRefusal):
    """The condition of the call does not hold."""


class Bug(WorkerError):  # noqa: N818 - said as a state
    """A rule of our own was broken. The process ends, nothing more is committed."""
