"""The retryable errors of DynamoDB, for readers and writers.

Codes: Amazon DynamoDB developer guide, "Error handling", table of error messages and codes; API
reference, "Common error types", and the "Errors" section of each operation.
"""

import ssl

import aiohttp
from botocore import exceptions as botocore_exceptions
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.parsers import ResponseParserError

#: Refusals of the request rate alone.
THROTTLED = frozenset({
    "ProvisionedThroughputExceededException", "ThrottlingException", "Throttling",
    "RequestLimitExceeded", "TooManyRequestsException", "LimitExceededException",
})  # fmt: skip
#: The member of a throttled call's answer with its reasons, in both spellings of the service's
#: model.
THROTTLING_MEMBERS = ("ThrottlingReasons", "throttlingReasons")
#: DynamoDB's reasons for a throttled call (API reference, ThrottlingReason: resource, operation and
#: limit). The table has no index.
THROTTLING_REASONS = frozenset(
    f"Table{operation}{limit}"
    for operation in ("Read", "Write")
    for limit in (
        "ProvisionedThroughputExceeded", "AccountLimitExceeded", "KeyRangeThroughputExceeded",
        "MaxOnDemandThroughputExceeded",
    )
)  # fmt: skip
#: Unprocessed items of a BatchWriteItem, for which DynamoDB gives no reason.
UNPROCESSED_ITEMS = "UnprocessedItems"
#: A reason that is not in the list.
OTHER_REASON = "other"
#: Every reason in metrics: DynamoDB's, its error codes, and the two above.
COUNTED_REASONS = (*sorted(THROTTLING_REASONS | THROTTLED), UNPROCESSED_ITEMS, OTHER_REASON)
#: Faults of the service, or on the way to it, with a status below 500.
FAILING = frozenset({
    "InternalServerError", "InternalFailure", "ServiceUnavailable", "RequestTimeout",
    "RequestTimeoutException", "ReplicatedWriteConflictException", "TransactionInProgressException",
})  # fmt: skip
#: Refusals of a signature. It may be from before a pause, by a clock that is being set, or with
#: credentials that have just expired or are not propagated yet. After some attempts it is an error
#: of the operator.
UNSIGNED = frozenset({
    "ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed",
    "InvalidSignatureException", "SignatureDoesNotMatch", "UnrecognizedClientException",
    "InvalidClientTokenId", "IncompleteSignature", "IncompleteSignatureException",
})  # fmt: skip
#: HTTP statuses of a proxy or load balancer that ask the client to try again.
FAILING_STATUSES = frozenset({408, 425, 429})
#: The HTTP status of DynamoDB's refusals.
_REFUSED = 400
#: No answer: refused, reset, cut off, damaged on the way, timed out, unknown host.
UNREACHABLE = (
    botocore_exceptions.ConnectionError, botocore_exceptions.ChecksumError, HTTPClientError,
    aiohttp.ClientError, OSError, TimeoutError,
)  # fmt: skip
#: Missing files. No network raises these.
MISSING_FILE = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
#: Errors of parsing a malformed answer. A bug may raise the same.
NO_ANSWER = (ResponseParserError, AttributeError, KeyError, TypeError, ValueError)


def code_of(error: ClientError) -> str:
    """Return DynamoDB's name of the error, or ""."""
    return str(error.response.get("Error", {}).get("Code", ""))


def text_of(error: ClientError) -> str:
    """Return DynamoDB's text of the error."""
    return str(error.response.get("Error", {}).get("Message", ""))


def status_of(error: ClientError) -> int:
    """Return the HTTP status; 0: unknown."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def throttling_reasons(error: ClientError) -> list[str]:
    """Return DynamoDB's reasons for a throttled call, such as
    `TableWriteKeyRangeThroughputExceeded` (API reference, ThrottlingReason), else its error
    code."""
    for name in THROTTLING_MEMBERS:
        found = error.response.get(name)
        if isinstance(found, list):
            reasons = [each.get("reason") for each in found if isinstance(each, dict)]
            if stated := [str(reason) for reason in reasons if reason]:
                return stated
    return [code_of(error)]


def counted_reason(reason: str) -> str:
    """Return the one of COUNTED_REASONS under which metrics count a reason."""
    return reason if reason in COUNTED_REASONS else OTHER_REASON


def is_throttled(error: ClientError) -> bool:
    """Return whether DynamoDB refused the request rate alone."""
    return code_of(error) in THROTTLED


def is_failing(error: ClientError) -> bool:
    """Return whether the service, or a hop on the way to it, has a transient fault."""
    status = status_of(error)
    return code_of(error) in FAILING or status >= 500 or status in FAILING_STATUSES


def is_unsigned(error: ClientError) -> bool:
    """Return whether DynamoDB refused the signature or its credentials."""
    return code_of(error) in UNSIGNED


def is_misconfigured(error: BaseException) -> bool:
    """Return whether a call failed on this side: by the store's TLS certificate, or by the file
    that AWS_CA_BUNDLE names."""
    cause = error.kwargs.get("error", error) if isinstance(error, BotoCoreError) else error
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLCertVerificationError):
        return cause.library == "X509"  # a file without a certificate
    untrusted = (ssl.SSLCertVerificationError, aiohttp.ClientConnectorCertificateError)
    return isinstance(cause, (*MISSING_FILE, *untrusted))


def is_without_code(error: ClientError) -> bool:
    """Return whether a refusal does not name its error. Every refusal of DynamoDB has a name
    ("Error components"), so this one was damaged on the way or is not DynamoDB's. botocore sets the
    status as the name."""
    return status_of(error) == _REFUSED and code_of(error) in {"", str(_REFUSED)}
