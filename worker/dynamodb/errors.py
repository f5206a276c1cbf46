"""What DynamoDB's errors mean to a worker and a command. One place for all of them.

    Wait            it passes: a store that is away, throttles, has a fault
    Wait, `last`    it may pass: a refused signature or certificate, a source of credentials that
                    failed, an answer that is none; after some attempts `last` is raised
    raised          it does not pass

What is asked of readers and writers alike stands in `poste_restante.retryable_errors`.
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

#: A ValidationException that is about the table's schema, by its text: there is no other mark.
_ABOUT_SCHEMA = ("does not match the schema", "type mismatch for key", "missing the key",
                 "type mismatch for index", "unknown attributename in the key",
                 # as DynamoDB Local words it
                 "conditions on the keys", "required keys was not given")  # fmt: skip
#: One that is about the call and not about an item of it.
_ABOUT_CALL = ("too many items", "contains duplicates", "request size", "requestitems",
               "expression", "member must", "tablename")  # fmt: skip


def classify(error: ClientError, operation: str) -> str:
    """Why to wait, for an error that passes. Raises what else it means."""
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
    """How many failures in one call are borne."""

    NONE = "none"
    #: `dynamodb.REFUSALS_MAX`.
    REFUSALS = "refusals"
    #: `dynamodb._STRANGE_MAX`: what may be a fault of our own.
    UNEXPECTED = "strange"


@dataclass(frozen=True, slots=True)
class Wait:
    """A call that is made again. why: in words, for the log.

    limit: how often. last: what is raised then; without a limit, what a command says when it
    waits no longer. None: the store does not answer.
    """

    why: str
    last: Exception | None = None
    limit: Limit = Limit.NONE


def meaning(error: Exception, operation: str) -> Wait:
    """What a failed call means. Raises what cannot pass, and what is no error of a call."""
    if isinstance(error, CredentialsError):
        return _without_credentials(error)
    if isinstance(error, ClientError):
        return _refused(error, operation)
    if isinstance(error, UNREACHABLE):
        return _unreachable(error)
    if isinstance(error, BotoCoreError):  # an incomplete or wrong configuration
        raise OperatorError(f"cannot call DynamoDB: {short(error)}") from error
    return Wait(f"unreachable: {short(error)}", error, Limit.UNEXPECTED)


def malformed(operation: str, any_of: Collection[str]) -> Wait:
    """An answer without any of the members of which every answer has one."""
    last = OperatorError(
        f"DynamoDB answers {operation} without {' or '.join(any_of)}: is it DynamoDB, and is the"
        " endpoint right?"
    )
    return Wait("malformed response", last, Limit.UNEXPECTED)


def _without_credentials(error: CredentialsError) -> Wait:
    refusal = OperatorError(f"cannot call DynamoDB: {error}")
    if error.fault is CredentialsFault.CONFIGURATION:
        raise refusal from error
    unanswered = error.fault is CredentialsFault.UNANSWERED
    return Wait(str(error), refusal, Limit.NONE if unanswered else Limit.REFUSALS)


def _refused(error: ClientError, operation: str) -> Wait:
    try:
        why = classify(error, operation)
    except OperatorError as refusal:
        if not is_unsigned(error):
            raise
        return Wait(f"refused ({code_of(error)}: {text_of(error)})", refusal, Limit.REFUSALS)
    if not is_without_code(error):
        return Wait(why)
    last = OperatorError(
        f"DynamoDB refuses {operation} without saying why: is it DynamoDB, and is the endpoint"
        " right?"
    )
    return Wait(why, last, Limit.UNEXPECTED)


def _unreachable(error: Exception) -> Wait:
    why = f"unreachable: {short(error)}"
    if is_misconfigured(error):
        last = OperatorError(
            f"cannot call DynamoDB: {short(error)}; check AWS_CA_BUNDLE and the endpoint"
        )
        return Wait(why, last, Limit.REFUSALS)
    return Wait(why, error, Limit.UNEXPECTED) if _is_unexpected(error) else Wait(why)


def _is_unexpected(error: BaseException) -> bool:
    """Whether a fault of ours looks the same: it must not be waited for without end.

    What aiobotocore does not know comes as a bare HTTPClientError.
    """
    if isinstance(error, HTTPClientError) and type(error) is HTTPClientError:
        return not isinstance(error.kwargs.get("error"), (aiohttp.ClientError, OSError))
    return isinstance(error, NO_ANSWER)


def short(error: BaseException) -> str:
    """An error in one line of at most some 300 characters."""
    text = " ".join(str(error).split())[:300]  # one line of a log
    # botocore's own texts are sentences; of others the type is half of what is said.
    return text if isinstance(error, BotoCoreError) and text else f"{type(error).__name__}: {text}"
