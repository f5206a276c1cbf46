"""What the store's errors mean to a reader: one translation, for every call."""

from collections.abc import Awaitable
from typing import TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.parsers import ResponseParserError

from poste_restante.errors import MailboxError, StoreUnavailable, TableMismatch

# Developer guide, "Error handling", and API reference, "Common error types".
_THROTTLED = frozenset({
    "ProvisionedThroughputExceededException", "ThrottlingException", "Throttling",
    "RequestLimitExceeded", "TooManyRequestsException", "LimitExceededException",
})  # fmt: skip
_PASSING = frozenset({
    "InternalServerError", "InternalFailure", "ServiceUnavailable", "RequestTimeout",
    "RequestTimeoutException", "ReplicatedWriteConflictException", "TransactionInProgressException",
})  # fmt: skip
_PASSING_STATUSES = frozenset({408, 425, 429})

T = TypeVar("T")


class ConditionFailed(MailboxError):  # noqa: N818 - said as a state
    """The condition of an update does not hold. Never leaves this package."""


async def translated(call: Awaitable[T], table: str) -> T:
    """The result of a call; what it raises becomes one of `errors`, or ConditionFailed."""
    try:
        return await call
    except ClientError as error:
        raise _meaning(error, table) from error
    except (BotoConnectionError, HTTPClientError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"no answer from the store: {type(error).__name__}") from error
    except ResponseParserError as error:
        raise StoreUnavailable("the store's answer is none") from error
    except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no address
        raise MailboxError(f"cannot call the store: {error}") from error


def _meaning(error: ClientError, table: str) -> MailboxError:
    details = error.response.get("Error", {})
    code = str(details.get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "ConditionalCheckFailedException":
        return ConditionFailed(code)
    if code in _THROTTLED:
        return StoreUnavailable(f"the store throttles: {code}", throttled=True)
    if code in _PASSING or status >= 500 or status in _PASSING_STATUSES:
        return StoreUnavailable(f"the store has a fault: {code or status}")
    if code == "ResourceNotFoundException":
        return TableMismatch(f"there is no table {table!r}: run `poste init`")
    return MailboxError(f"the store refuses: {code}: {details.get('Message', '')}")
