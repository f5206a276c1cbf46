"""Which errors of DynamoDB pass, for readers and writers alike: one list, with its source.

Codes: Amazon DynamoDB developer guide, "Error handling", table of error messages and codes; API
reference, "Common error types", and the "Errors" section of each operation.
"""

import ssl

import aiohttp
from botocore import exceptions as botocore_exceptions
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.parsers import ResponseParserError

#: The rate of requests alone is refused.
THROTTLED = frozenset({
    "ProvisionedThroughputExceededException", "ThrottlingException", "Throttling",
    "RequestLimitExceeded", "TooManyRequestsException", "LimitExceededException",
})  # fmt: skip
#: Faults of the service or the way to it that come with a status below 500.
FAILING = frozenset({
    "InternalServerError", "InternalFailure", "ServiceUnavailable", "RequestTimeout",
    "RequestTimeoutException", "ReplicatedWriteConflictException", "TransactionInProgressException",
})  # fmt: skip
#: A signature that is not accepted now: it was made before a pause, by a clock that is being set,
#: or with credentials that have just expired or are not known everywhere yet. After some attempts
#: it is the operator's.
UNSIGNED = frozenset({
    "ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed",
    "InvalidSignatureException", "SignatureDoesNotMatch", "UnrecognizedClientException",
    "InvalidClientTokenId", "IncompleteSignature", "IncompleteSignatureException",
})  # fmt: skip
#: HTTP statuses of a proxy or load balancer on the way that ask for patience.
FAILING_STATUSES = frozenset({408, 425, 429})
#: The HTTP status of DynamoDB's refusals.
_REFUSED = 400
#: No answer: refused, reset, cut off, damaged on the way, timed out, no such host.
UNREACHABLE = (
    botocore_exceptions.ConnectionError, botocore_exceptions.ChecksumError, HTTPClientError,
    aiohttp.ClientError, OSError, TimeoutError,
)  # fmt: skip
#: Files that are not there: no network raises these.
MISSING_FILE = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
#: What botocore makes of an answer of another shape, and what a fault of ours looks like as well.
NO_ANSWER = (ResponseParserError, AttributeError, KeyError, TypeError, ValueError)


def code_of(error: ClientError) -> str:
    """DynamoDB's name of the error; empty where the answer has none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def text_of(error: ClientError) -> str:
    """DynamoDB's words."""
    return str(error.response.get("Error", {}).get("Message", ""))


def status_of(error: ClientError) -> int:
    """The HTTP status; 0 where it is not known."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_throttled(error: ClientError) -> bool:
    """Whether the rate of requests alone was refused."""
    return code_of(error) in THROTTLED


def is_failing(error: ClientError) -> bool:
    """Whether the service, or something on the way to it, has a fault that passes."""
    status = status_of(error)
    return code_of(error) in FAILING or status >= 500 or status in FAILING_STATUSES


def is_unsigned(error: ClientError) -> bool:
    """Whether the signature, or the credentials that made it, were refused."""
    return code_of(error) in UNSIGNED


def is_misconfigured(error: BaseException) -> bool:
    """Whether a call without an answer failed on this side: on the store's TLS certificate, or on
    the file that AWS_CA_BUNDLE names."""
    cause = error.kwargs.get("error", error) if isinstance(error, BotoCoreError) else error
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLCertVerificationError):
        return cause.library == "X509"  # a file without a certificate
    untrusted = (ssl.SSLCertVerificationError, aiohttp.ClientConnectorCertificateError)
    return isinstance(cause, (*MISSING_FILE, *untrusted))


def is_without_code(error: ClientError) -> bool:
    """A refusal that does not say what it is. Every one of DynamoDB's own has a name ("Error
    components"), so it was damaged on the way, or is not DynamoDB's: that says nothing of the
    call. botocore then gives the status for the name."""
    return status_of(error) == _REFUSED and code_of(error) in {"", str(_REFUSED)}
