"""The faults of a call, a closed list, and what DynamoDB itself answers then.

Wording and statuses: Amazon DynamoDB developer guide, "Error handling" (error components; table of
error messages and codes; batch operations); API reference, "Common Errors" and the "Errors"
section of each operation; the service model of botocore (dynamodb/2012-08-10) for the members.
"""

import json
from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import Any

from tests.fault_proxy.wire import Answer


class Fault(StrEnum):
    """What becomes of the call ("made": DynamoDB has it; of a write, it is durable)."""

    UNPROCESSED = "unprocessed"  # part of a BatchWriteItem is not made and comes back
    PROVISIONED_THROUGHPUT = "provisioned throughput"  # not made, 400
    THROTTLED = "throttled"  # not made, 400
    REQUEST_LIMIT = "request limit"  # not made, 400
    INTERNAL_ERROR = "internal error"  # made or not made, 500: the guide leaves it open
    UNAVAILABLE = "unavailable"  # not made, 503, of DynamoDB or of a load balancer before it
    REFUSED = "refused"  # not made; every connection is reset, and for a while none is taken
    CUT_BEFORE = "cut before"  # not made, the connection ends without an answer
    CUT_AFTER = "cut after"  # made, the connection ends without an answer
    LATE = "late"  # the connection ends at once; made after its retry was answered
    SLOW = "slow"  # made, but the answer is held until the client gives up
    MISSHAPEN = "misshapen"  # made, the answer is no answer to it
    TRUNCATED = "truncated"  # made, the answer ends in its middle
    REJECTED_ITEM = "rejected item"  # not made, ValidationException about an item
    NO_TABLE = "no table"  # not made, ResourceNotFoundException
    ACCESS_DENIED = "access denied"  # not made, AccessDeniedException


#: Of a batch alone; every other fault can be applied to every operation.
BATCHES_ONLY = frozenset({Fault.UNPROCESSED})
BATCH_WRITE = "BatchWriteItem"
#: Operations that change nothing; of a batch, throttling is about writing.
READS = frozenset({"Query", "GetItem", "BatchGetItem", "Scan", "DescribeTable", "ListTables"})

_DYNAMODB = "com.amazonaws.dynamodb.v20120810#"
_COMMON = "com.amazon.coral.service#"  # errors that are common to all services
_VALIDATION = "com.amazon.coral.validate#"

_THROUGHPUT = (
    "The level of configured provisioned throughput for the table was exceeded. Consider"
    " increasing your provisioning level with the UpdateTable API."
)
_ON_DEMAND = (
    "Throughput exceeds the current capacity of your table or index. DynamoDB is automatically"
    " scaling your table or index so please try again shortly."
)
_ACCOUNT = (
    "Throughput exceeds the current throughput limit for your account. Please contact AWS Support"
    " at https://aws.amazon.com/support request a limit increase"
)
_ITEM = (
    "Item size has exceeded the maximum allowed size",
    "One or more parameter values were invalid: An number set  may not be empty",  # sic
)
_BALANCER = b"<html><body><h1>503 Service Unavailable</h1></body></html>"

#: What no call of ours is answered with: not an object, without its members, members of another
#: type, of another call, no JSON. The status is 200.
MISSHAPEN: tuple[bytes, ...] = (
    b"[]",
    b"{}",
    b"null",
    b'"yes"',
    b'{"UnprocessedItems":[],"Items":{"S":"!"},"Attributes":[],"Item":[]}',
    b'{"UnprocessedItems":{"another":[]},"Items":[{"k":{"S":"1"}}],"Attributes":{"k":{"N":"1"}}}',
    b'{"UnprocessedItems":null,"Items":null,"Attributes":null,"Item":null}',
    b"<html><body>Welcome</body></html>",
)


def refusal(type_: str, text: str, *, status: int = 400, **members: Any) -> Answer:
    """An error as DynamoDB words it."""
    body = json.dumps({"__type": type_, "message": text, **members}).encode()
    return Answer.of(status, body)


def rejected(text: str) -> Answer:
    """A ValidationException about an item."""
    return refusal(f"{_VALIDATION}ValidationException", text)


def answer_of(fault: Fault, operation: str, table: str, random: Random) -> Answer:
    """What a fault answers that is an answer. random: chooses among DynamoDB's own wordings."""
    kind = "Read" if operation in READS else "Write"
    return _ANSWERS[fault](kind, operation, table, random)


def _reasons(table: str, *reasons: str) -> list[dict[str, str]]:
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{table}"
    return [{"reason": reason, "resource": arn} for reason in reasons]


def _provisioned(kind: str, operation: str, table: str, random: Random) -> Answer:
    limit = random.choice(["ProvisionedThroughputExceeded", "KeyRangeThroughputExceeded"])
    return refusal(
        f"{_DYNAMODB}ProvisionedThroughputExceededException", _THROUGHPUT,
        ThrottlingReasons=_reasons(table, f"Table{kind}{limit}"),
    )  # fmt: skip


def _throttling(kind: str, operation: str, table: str, random: Random) -> Answer:
    limit = random.choice(["MaxOnDemandThroughputExceeded", "KeyRangeThroughputExceeded"])
    return refusal(
        f"{_DYNAMODB}ThrottlingException", _ON_DEMAND,
        throttlingReasons=_reasons(table, f"Table{kind}{limit}"),
    )  # fmt: skip


def _request_limit(kind: str, operation: str, table: str, random: Random) -> Answer:
    return refusal(
        f"{_DYNAMODB}RequestLimitExceeded", _ACCOUNT,
        ThrottlingReasons=_reasons(table, f"Table{kind}AccountLimitExceeded"),
    )  # fmt: skip


def _internal(kind: str, operation: str, table: str, random: Random) -> Answer:
    text = "The request processing has failed because of an unknown error, exception or failure."
    return refusal(f"{_DYNAMODB}InternalServerError", text, status=500)


def _unavailable(kind: str, operation: str, table: str, random: Random) -> Answer:
    if random.random() < 0.5:
        return Answer.of(503, _BALANCER, content_type="text/html")
    text = "DynamoDB is currently unavailable. Please try again later."
    return refusal(f"{_COMMON}ServiceUnavailableException", text, status=503)


def _item(kind: str, operation: str, table: str, random: Random) -> Answer:
    return rejected(random.choice(_ITEM))


def _no_table(kind: str, operation: str, table: str, random: Random) -> Answer:
    text = f"Requested resource not found: Table: {table} not found"
    return refusal(f"{_DYNAMODB}ResourceNotFoundException", text)


def _denied(kind: str, operation: str, table: str, random: Random) -> Answer:
    text = (
        f"User: arn:aws:iam::000000000000:user/test is not authorized to perform:"
        f" dynamodb:{operation} on resource: {_reasons(table, '')[0]['resource']} because no"
        f" identity-based policy allows the dynamodb:{operation} action"
    )
    return refusal(f"{_COMMON}AccessDeniedException", text)


_ANSWERS: dict[Fault, Callable[[str, str, str, Random], Answer]] = {
    Fault.PROVISIONED_THROUGHPUT: _provisioned,
    Fault.THROTTLED: _throttling,
    Fault.REQUEST_LIMIT: _request_limit,
    Fault.INTERNAL_ERROR: _internal,
    Fault.UNAVAILABLE: _unavailable,
    Fault.REJECTED_ITEM: _item,
    Fault.NO_TABLE: _no_table,
    Fault.ACCESS_DENIED: _denied,
}
