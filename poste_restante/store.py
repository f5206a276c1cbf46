"""The mailbox store in DynamoDB: three calls on one table, and the translation of their errors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from poste_restante.credentials import CredentialsError, CredentialsFault
from poste_restante.errors import MailboxError, StoreUnavailable, TableMismatch
from poste_restante.item import Item
from poste_restante.mailbox_store import (
    DELETES_PER_CALL_MAX,
    QUERY_ITEMS_MAX,
    CursorMissingError,
    QueryResult,
)
from poste_restante.meter import CallMeasurement, Meter
from poste_restante.metrics import NO_METRICS, StoreOperation, StoreOutcome
from poste_restante.position import LogId
from poste_restante.retryable_errors import (
    NO_ANSWER,
    UNREACHABLE,
    code_of,
    is_failing,
    is_misconfigured,
    is_throttled,
    is_without_code,
    status_of,
    text_of,
)
from poste_restante.table import PURGED_AT_ATTRIBUTE, TTL_ATTRIBUTE

#: Calls that wait for a slot. Each takes some 10 KB with its task. A process serves fewer in
#: SLOT_S_MAX.
CALLS_WAITING_MAX = 100_000
#: Seconds that a call waits for a slot. One core serves ten thousand users who reconnect at once in
#: 15 to 30 s. After a minute a user has left.
SLOT_S_MAX = 60.0

T = TypeVar("T")


class ConditionFailedError(MailboxError):
    """The condition of an update does not hold. Never leaves this package.

    item: the stored item; empty: there is none, or the update did not ask for it.
    """

    def __init__(self, item: Item) -> None:
        super().__init__("the condition of an update does not hold")
        self.item = item


class ConcurrencyLimiter:
    """Limits the calls at a time. The others wait in order of arrival, within the limits above.

    Without it, a client with ten thousand calls signs them all before it reads the first answer,
    while the time-outs of the sent calls run out.
    """

    def __init__(self, at_a_time: int) -> None:
        self._free = asyncio.Semaphore(at_a_time)
        self.limit = at_a_time
        self.in_flight = self.waiting = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot. Raises StoreUnavailable if none is free in time, or too many calls wait."""
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._free.release()

    async def _wait(self) -> None:
        if self.waiting >= CALLS_WAITING_MAX:
            raise StoreUnavailable(f"{self.waiting} calls are already waiting for the store")
        self.waiting += 1
        try:
            async with asyncio.timeout(SLOT_S_MAX):
                await self._free.acquire()
        except TimeoutError as error:
            raise StoreUnavailable(f"no call slot became free within {SLOT_S_MAX:g} s") from error
        finally:
            self.waiting -= 1


_RAISE = f"SET #log = :offset REMOVE {TTL_ATTRIBUTE}, {PURGED_AT_ATTRIBUTE}"


class DynamoDBMailboxStore:
    """`MailboxStore` over a low-level client. Every call raises as `translate_errors` does, and
    StoreUnavailable if it gets no slot.

    meter: if enabled, each call requests its consumed capacity.
    """

    def __init__(
        self, client: Any, table: str, *, calls_in_flight_max: int, meter: Meter | None = None
    ) -> None:
        self._client = client
        self._table = table
        self._meter = Meter(NO_METRICS) if meter is None else meter
        #: The `metrics.Load` of the store.
        self.limiter = ConcurrencyLimiter(calls_in_flight_max)

    async def _call(
        self,
        operation: StoreOperation,
        call: Callable[..., Awaitable[Any]],
        arguments: dict[str, Any],
        read: Callable[[Any, CallMeasurement], T],
    ) -> T:
        """Make a call when a slot is free, and return what `read` returns for its answer.

        operation: its name in the metrics. call: the client's.
        """
        if self._meter.is_enabled:
            arguments["ReturnConsumedCapacity"] = "TOTAL"
        async with self.limiter.slot():
            with self._meter.store_call(operation) as measurement:
                try:
                    answer = await translate_errors(call(**arguments), self._table)
                except ConditionFailedError:
                    measurement.record_outcome(StoreOutcome.CONDITION_FAILED)
                    raise
                measurement.record_answer(answer)
                return read(answer, measurement)

    async def query(
        self,
        key: str,
        *,
        limit: int | None = None,
        only: str | None = None,
        begin: str | None = None,
        above: str | None = None,
        below: str | None = None,
        up_to: str | None = None,
        start: Item | None = None,
        keys_only: bool = False,
        backwards: bool = False,
        consistent: bool = True,
    ) -> QueryResult:
        condition, values = "user_id = :user", {":user": {"S": key}}
        arguments: dict[str, Any] = {"TableName": self._table, "ConsistentRead": consistent}
        names = {"#position": "position"}  # a reserved word
        if up_to is not None and (low := begin or above) is not None:
            condition += " AND #position BETWEEN :low AND :key"
            values |= {":low": {"S": low}, ":key": {"S": up_to}}
        else:
            bounds = (("=", only), (">=", begin), (">", above), ("<", below), ("<=", up_to))
            for operator, bound in bounds:
                if bound is not None:
                    condition += f" AND #position {operator} :key"
                    values[":key"] = {"S": bound}
        if keys_only:
            arguments["ProjectionExpression"] = "user_id, #position"
        if keys_only or ":key" in values:
            arguments["ExpressionAttributeNames"] = names
        if backwards:
            arguments["ScanIndexForward"] = False
        if limit is not None:
            arguments["Limit"] = min(limit, QUERY_ITEMS_MAX)
        if start is not None:
            arguments["ExclusiveStartKey"] = start
        arguments |= {"KeyConditionExpression": condition, "ExpressionAttributeValues": values}
        behind = (below if backwards else above) if start is None else start["position"]["S"]
        return await self._call(
            StoreOperation.QUERY,
            self._client.query,
            arguments,
            lambda answer, _: _parse_items(answer, behind, backwards=backwards),
        )

    async def raise_cursor(
        self, key: str, cursor: str, log: LogId, offset: int, *, existing: bool = False
    ) -> None:
        condition = "attribute_not_exists(#log) OR #log < :offset"
        names = {"#log": log.encode()}
        more = {}
        if existing:
            condition = f"attribute_exists(#position) AND ({condition})"
            names["#position"] = "position"
            more["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        try:
            await self._update(
                key,
                cursor,
                confirmed_by=log.encode(),
                # A cursor in use does not expire, as a purged one does.
                UpdateExpression=_RAISE,
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues={":offset": {"N": str(offset)}},
                ReturnValues="UPDATED_NEW",
                **more,
            )
        except ConditionFailedError as error:
            if existing and not error.item:
                raise CursorMissingError(cursor) from None
            # It is further already, by another device or an earlier attempt.

    async def create_cursor(self, key: str, cursor: str, offsets: Mapping[LogId, int]) -> bool:
        logs = list(offsets)
        more: dict[str, Any] = {}
        if logs:
            more = {
                "UpdateExpression": "SET " + ", ".join(f"#l{n} = :l{n}" for n in range(len(logs))),
                "ExpressionAttributeValues": {
                    f":l{n}": {"N": str(offsets[log])} for n, log in enumerate(logs)
                },
            }
        names = {"#position": "position", **{f"#l{n}": log.encode() for n, log in enumerate(logs)}}
        try:
            await self._update(
                key,
                cursor,
                confirmed_by="position",
                ConditionExpression="attribute_not_exists(#position)",
                ExpressionAttributeNames=names,
                ReturnValues="ALL_NEW",
                **more,
            )
        except ConditionFailedError:
            return False
        return True

    async def _update(
        self, key: str, position: str, *, confirmed_by: str, **arguments: Any
    ) -> None:
        def require_confirmed(answer: Any, _: CallMeasurement) -> None:
            # An answer that was cut off has no members, and confirms nothing.
            if not isinstance(answer, dict) or confirmed_by not in (answer.get("Attributes") or {}):
                raise StoreUnavailable("malformed response from the store to an update")

        arguments |= {
            "TableName": self._table,
            "Key": {"user_id": {"S": key}, "position": {"S": position}},
        }
        await self._call(
            StoreOperation.UPDATE_ITEM, self._client.update_item, arguments, require_confirmed
        )

    async def delete(self, key: str, positions: Sequence[str]) -> int:
        done = 0
        for begin in range(0, len(positions), DELETES_PER_CALL_MAX):
            some = positions[begin : begin + DELETES_PER_CALL_MAX]
            requests = [
                {"DeleteRequest": {"Key": {"user_id": {"S": key}, "position": {"S": position}}}}
                for position in some
            ]
            arguments = {"RequestItems": {self._table: requests}}
            done += len(some) - await self._call(
                StoreOperation.BATCH_WRITE_ITEM,
                self._client.batch_write_item,
                arguments,
                _count_unprocessed,
            )
        return done


def _count_unprocessed(answer: Any, measurement: CallMeasurement) -> int:
    """Return the number of unprocessed requests. Raises StoreUnavailable for a malformed answer."""
    try:
        left = sum(map(len, answer["UnprocessedItems"].values()))
    except NO_ANSWER as error:
        raise StoreUnavailable("malformed response from the store to a delete") from error
    if left:
        measurement.record_outcome(StoreOutcome.PARTIAL)
    return left


def _parse_items(answer: Any, behind: str | None, *, backwards: bool) -> QueryResult:
    """Return the items of a Query's answer. Raises StoreUnavailable for a malformed answer.

    Reading relies on ascending items (descending, if `backwards`) after the sort key `behind`.
    """
    try:
        items, last = answer["Items"], answer.get("LastEvaluatedKey")
        keys = [] if behind is None else [behind]
        keys += [item["position"]["S"] for item in items]
        ascend = all(b < a if backwards else a < b for a, b in pairwise(keys))
        if last is not None:
            # No Query filters, so a page has items. An empty one could hide a cursor, or repeat for
            # ever.
            end = last["position"]["S"]
            ascend = ascend and bool(items) and (end <= keys[-1] if backwards else end >= keys[-1])
    except NO_ANSWER as error:
        raise StoreUnavailable("malformed response from the store to a query") from error
    if not ascend:
        raise StoreUnavailable(
            "malformed response from the store: a query's items are out of order"
        )
    return QueryResult(items, last)


async def translate_errors(call: Awaitable[T], table: str) -> T:
    """Return the result of a call. Raises an error of `errors`, or ConditionFailedError."""
    try:
        return await call
    except CredentialsError as error:
        raise translate_credentials_error(error) from error
    except ClientError as error:
        raise _translate(error, table) from error
    except UNREACHABLE as error:
        if is_misconfigured(error):
            raise MailboxError(f"cannot call the store: {error}: check AWS_CA_BUNDLE") from error
        text = " ".join(str(error).split())[:300]
        why = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise StoreUnavailable(f"no answer from the store: {why}") from error
    except BotoCoreError as error:
        raise MailboxError(f"cannot call the store: {error}") from error
    except NO_ANSWER as error:
        raise StoreUnavailable(
            f"malformed response from the store: {type(error).__name__}"
        ) from error


def translate_credentials_error(error: CredentialsError) -> MailboxError:
    """Return StoreUnavailable if the next call may get credentials, else MailboxError."""
    text = f"cannot call the store: {error}"
    nowhere = isinstance(error.__cause__, NoCredentialsError)
    if nowhere or error.fault is CredentialsFault.CONFIGURATION:
        return MailboxError(text)
    return StoreUnavailable(text)


def _translate(error: ClientError, table: str) -> MailboxError:
    code, text = code_of(error), text_of(error)
    if code == "ConditionalCheckFailedException":
        return ConditionFailedError(error.response.get("Item") or {})
    if is_throttled(error):
        return StoreUnavailable(f"the store throttles: {code}", throttled=True)
    if is_failing(error):
        return StoreUnavailable(f"the store has a fault: {code or status_of(error)}")
    if is_without_code(error):
        return StoreUnavailable("malformed response from the store: a refusal without a code")
    if code == "ResourceNotFoundException":
        return TableMismatch(f"there is no table {table!r}: run `poste init`")
    if code == "ValidationException" and "schema" in text:
        return TableMismatch(f"the table {table!r} has a different key schema: {text}")
    return MailboxError(f"the store refuses: {code}: {text}")
