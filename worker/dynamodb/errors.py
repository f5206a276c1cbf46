"""What DynamoDB's errors mean to the worker and the commands. This is the only place for it.

    CallRetry            passes: DynamoDB is away, throttles or has a fault
    CallRetry, `last`    may pass: a refused signature or certificate, a source of credentials that
                         failed, a malformed response; after some attempts the caller raises `last`
    raised               does not pass

`poste_restante.retryable_errors` has the questions that readers and writers share.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from poste_restante.credentials import CredentialsError, CredentialsFault
from poste_restante.retryable_errors import (
    NO_ANSWER,
    UNREACHABLE,
    code_of,
    is_failing,
    is_misconfigured,
    is_throttled,
    is_unsigned,
    is_without_code,
    status_of,
    text_of,
)
from worker.errors import Bug, ConditionFailed, ItemRefused, OperatorError
from worker.outcomes import AttemptOutcome

#: Texts of a ValidationException about the table's schema. Nothing else marks it.
_ABOUT_SCHEMA = ("does not match the schema", "type mismatch for key", "missing the key",
                 "type mismatch for index", "unknown attributename in the key",
                 # as DynamoDB Local words it
                 "conditions on the keys", "required keys was not given")  # fmt: skip
#: Texts of one about the call and not about an item of it.
_ABOUT_CALL = ("too many items", "contains duplicates", "request size", "requestitems",
               "expression", "member must", "tablename")  # fmt: skip


class MalformedAnswerError(Exception):
    """An answer that says nothing about the call: it was cut off, or is about something else.

    any_of: the members of which every answer has one. Given where the wait has an end.
    """

    def __init__(self, any_of: Collection[str] = ()) -> None:
        super().__init__("malformed response")
        self.any_of = any_of


def classify(error: ClientError, operation: str) -> str:
    """Return the reason to wait, for a temporary error. Raises what any other error means."""
    code, text = code_of(error), text_of(error)
    if is_throttled(error):
        return f"throttled ({code})"
    if is_failing(error):
        return f"it fails ({code}, HTTP {status_of(error)})"
    if is_without_code(error):
        return "malformed response (a refusal without a name)"
    if code == "ConditionalCheckFailedException":
        raise ConditionFailed(text) from error
    if code == "ValidationException":
        raise _validation(text, operation) from error
    if code == "ResourceNotFoundException":
        raise OperatorError(
            f"the table does not exist (DynamoDB: {text}): check dynamodb.table, the region and"
            " the endpoint, or run `poste init`"
        ) from error
    if code in {"SerializationException", "413"}:
        raise Bug(f"DynamoDB cannot read our {operation}: {code}: {text}") from error
    raise OperatorError(
        f"DynamoDB refuses {operation}: {code}: {text}; check the credentials, their permissions"
        " and the endpoint"
    ) from error


def _validation(text: str, operation: str) -> Exception:
    lower = text.lower()
    if any(mark in lower for mark in _ABOUT_SCHEMA):
        return OperatorError(
            f"the table has a different key schema (DynamoDB: {text}): name another table in"
            " dynamodb.table, or let `poste init` create it"
        )
    if any(mark in lower for mark in _ABOUT_CALL):
        return Bug(f"DynamoDB finds our {operation} wrong: {text}")
    return ItemRefused(text)


class Limit(Enum):
    """Which limit ends the repetition of a call."""

    NONE = "none"
    #: `RetryingStore.refusals_max`.
    REFUSALS = "refusals"
    #: `store.UNEXPECTED_MAX`: the failure may be a fault of our own.
    UNEXPECTED = "unexpected"


@dataclass(frozen=True, slots=True)
class CallRetry:
    """A call that is made again. why: in words, for the log.

    limit: how often. last: the error that is raised then; without a limit, the error that a command
    reports when it stops waiting. None: DynamoDB does not answer.
    """

    why: str
    last: Exception | None = None
    limit: Limit = Limit.NONE


def meaning(error: Exception, operation: str) -> CallRetry:
    """Return the retry of a failed call. Raises a permanent error."""
    if isinstance(error, MalformedAnswerError):
        return _malformed(error, operation)
    if isinstance(error, CredentialsError):
        return _without_credentials(error)
    if isinstance(error, ClientError):
        return _refused(error, operation)
    if isinstance(error, UNREACHABLE):
        return _unreachable(error)
    if isinstance(error, BotoCoreError):  # an incomplete or wrong configuration
        raise OperatorError(f"cannot call DynamoDB: {short(error)}") from error
    return CallRetry(f"unreachable: {short(error)}", error, Limit.UNEXPECTED)


def outcome_of(error: Exception, operation: str) -> AttemptOutcome:
    """Return how an attempt that raised this ended, for the metrics."""
    if isinstance(error, ClientError) and is_throttled(error):
        return AttemptOutcome.THROTTLED
    try:
        wait = meaning(error, operation)
    except ConditionFailed:
        return AttemptOutcome.CONDITION_FAILED
    except ItemRefused:
        return AttemptOutcome.REJECTED
    except (OperatorError, Bug):
        return AttemptOutcome.REFUSED
    return AttemptOutcome.REFUSED if wait.limit is Limit.REFUSALS else AttemptOutcome.UNAVAILABLE


def _malformed(error: MalformedAnswerError, operation: str) -> CallRetry:
    if not error.any_of:
        return CallRetry(str(error))
    last = OperatorError(
        f"DynamoDB answers {operation} without {' or '.join(error.any_of)}: is it DynamoDB, and is"
        " the endpoint right?"
    )
    return CallRetry(str(error), last, Limit.UNEXPECTED)


def _without_credentials(error: CredentialsError) -> CallRetry:
    refusal = OperatorError(f"cannot call DynamoDB: {error}")
    if error.fault is CredentialsFault.CONFIGURATION:
        raise refusal from error
    unanswered = error.fault is CredentialsFault.UNANSWERED
    return CallRetry(str(error), refusal, Limit.NONE if unanswered else Limit.REFUSALS)


def _refused(error: ClientError, operation: str) -> CallRetry:
    try:
        why = classify(error, operation)
    except OperatorError as refusal:
        if not is_unsigned(error):
            raise
        return CallRetry(f"refused ({code_of(error)}: {text_of(error)})", refusal, Limit.REFUSALS)
    if not is_without_code(error):
        return CallRetry(why)
    last = OperatorError(
        f"DynamoDB refuses {operation} without saying why: is it DynamoDB, and is the endpoint"
        " right?"
    )
    return CallRetry(why, last, Limit.UNEXPECTED)


def _unreachable(error: Exception) -> CallRetry:
    why = f"unreachable: {short(error)}"
    if is_misconfigured(error):
        last = OperatorError(
            f"cannot call DynamoDB: {short(error)}; check AWS_CA_BUNDLE and the endpoint"
        )
        return CallRetry(why, last, Limit.REFUSALS)
    return CallRetry(why, error, Limit.UNEXPECTED) if _may_be_ours(error) else CallRetry(why)


def _may_be_ours(error: BaseException) -> bool:
    """Whether a fault of our own looks the same, so that the wait must have an end.

    aiobotocore raises a bare HTTPClientError for an error that it does not know.
    """
    if isinstance(error, HTTPClientError) and type(error) is HTTPClientError:
        return not isinstance(error.kwargs.get("error"), (aiohttp.ClientError, OSError))
    return isinstance(error, NO_ANSWER)


def short(error: BaseException) -> str:
    """Return an error as one line of at most some 300 characters."""
    text = " ".join(str(error).split())[:300]  # one line of a log
    # botocore's own texts are sentences. The texts of other errors say little without the type.
    return text if isinstance(error, BotoCoreError) and text else f"{type(error).__name__}: {text}"
