"""Mailboxes: fetch what waits for a user, and acknowledge it.

A fetch is one strongly consistent Query: the cursor sorts before every bundle, so it comes with
them. An acknowledgement raises the cursor first, and deletes bundles only where that is
confirmed: whatever is cut off in between, nothing comes back and nothing is lost.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from poste_restante.errors import (
    MailboxError,
    StoreUnavailable,
    TableMismatch,
    UnreadableItem,
)
from poste_restante.item import Item
from poste_restante.message import Message
from poste_restante.position import CURSOR_KEY, TABLE_RECORD_KEY, BundleKey, LogId, mailbox_key
from poste_restante.reading import Limits, Reading
from poste_restante.receipt import Receipt, Receipts
from poste_restante.store import ConditionFailed, translated
from poste_restante.table import Cursor, TableRecord, decode_cursor

#: Seconds until the table record is looked at again: a table is replaced with gateways stopped.
TABLE_CHECK_S = 60.0
#: Items of one batch_write_item (API reference).
DELETES_PER_CALL_MAX = 25
#: Bundles that the first look behind a page asks for; each further look takes twice as many.
LOOK_AHEAD_ITEMS = 1

#: Defaults of `open_mailboxes`, for a gateway with a user waiting at the other end.
TIMEOUT_S, ATTEMPTS, CONNECTIONS = 2.0, 2, 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """What one fetch returned.

    messages: in log order per partition. receipt: for `ack`, or for `fetch(after=...)`; None
    where nothing was passed. A page without messages may carry one: acknowledging it cleans up.
    more: a further message waits behind this page.
    """

    messages: tuple[Message, ...]
    receipt: str | None
    more: bool


class Mailboxes:
    """The mailboxes of one table.

    client: anything with `query`, `update_item` and `batch_write_item` as aiobotocore's DynamoDB
    client has them. receipt_keys: the first signs, all verify; with none, receipts are
    checksummed only. clock: epoch seconds.

    Every method raises StoreUnavailable, TableMismatch or MailboxError as `errors` says, and
    ValueError for a user id that no mailbox can have. Cancelling any of them anywhere is safe.
    """

    def __init__(
        self,
        client: Any,
        *,
        table: str = "mailboxes",
        receipt_keys: Sequence[str | bytes] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._table = table
        self._receipts = Receipts(receipt_keys)
        self._clock = clock
        self._record: TableRecord | None = None
        self._checked_at = 0.0

    async def fetch(
        self,
        user_id: str,
        *,
        limit: int | None = None,
        max_bytes: int | None = None,
        after: str | None = None,
    ) -> Page:
        """What waits for a user, or what follows a receipt. Acknowledges nothing.

        limit: messages. max_bytes: of bodies and headers together; a page has at least one
        message, if one waits. Without a limit a page is one whole Query, at most 1 MB.

        Raises InvalidReceipt for `after`, and UnreadableItem where an item that cannot be read
        stands at the head.
        """
        for name, number in (("limit", limit), ("max_bytes", max_bytes)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, not {number}")
        key = mailbox_key(user_id)
        items_max = None if limit is None else limit + 1  # the cursor is an item too
        if after is None:
            record, answer = await self._with_record(self._query(key, limit=items_max))
            items = _items(answer)
            cursor = _cursor(items)
            start = None
        else:
            record, cursor_answer = await self._with_record(self._query(key, cursor=True))
            start = self._receipts.decode(after, table_id=record.table_id, user_id=user_id)
            cursor = _cursor(_items(cursor_answer))
            answer = await self._query(key, after=start.boundary, limit=items_max)
            items = _items(answer)
        reading = Reading(
            user_id=user_id,
            topic=record.topic,
            now=datetime.fromtimestamp(self._clock(), tz=UTC),
            cursor=cursor,
            limits=Limits(limit, max_bytes),
            start=start,
        )
        reading.add(item for item in items if item["position"]["S"] != CURSOR_KEY)
        await self._read_on(reading, key, items_max, answer.get("LastEvaluatedKey"))
        return self._page(reading, record)

    async def _read_on(
        self, reading: Reading, key: str, items_max: int | None, last: Item | None
    ) -> None:
        """Query until there is a message, then only until it is known whether there is more."""
        look_ahead = LOOK_AHEAD_ITEMS
        while last is not None and not reading.ended:
            limit = items_max
            if reading.messages:
                reading.close()
                limit, look_ahead = look_ahead, 2 * look_ahead
            answer = await self._query(key, start=last, limit=limit)
            reading.add(_items(answer))
            last = answer.get("LastEvaluatedKey")

    def _page(self, reading: Reading, record: TableRecord) -> Page:
        def token(receipt: Receipt) -> str:
            return self._receipts.encode(receipt, table_id=record.table_id, user_id=reading.user_id)

        if reading.unreadable is not None and not reading.messages:
            item = reading.unreadable
            raise UnreadableItem(item.key, item.reason, after=token(reading.past_unreadable()))
        receipt = reading.receipt()
        return Page(
            tuple(reading.messages), None if receipt is None else token(receipt), reading.more
        )

    async def pages(
        self, user_id: str, *, limit: int | None = None, max_bytes: int | None = None
    ) -> AsyncIterator[Page]:
        """All that waits for a user, page by page, without acknowledging.

        The last page's receipt covers all of them. Raises as `fetch` does.
        """
        page = await self.fetch(user_id, limit=limit, max_bytes=max_bytes)
        yield page
        while page.more:
            page = await self.fetch(user_id, limit=limit, max_bytes=max_bytes, after=page.receipt)
            yield page

    async def ack(self, user_id: str, receipt: str) -> None:
        """Acknowledge what a reading has passed: it never comes back.

        Idempotent, and never a step back: an older receipt changes nothing. Returns when the
        cursor is raised; a delete that fails is harmless, the cursor hides what is left.

        Raises InvalidReceipt for a receipt that is not of this mailbox and table.
        """
        key = mailbox_key(user_id)
        record = await self._checked()
        found = self._receipts.decode(receipt, table_id=record.table_id, user_id=user_id)
        for log, reach in found.logs.items():
            if reach.covered >= 0:
                await self._raise_cursor(key, log, reach.covered)
        # `decode` has checked that every bundle is covered, in a log that is confirmed by now.
        await self._delete(key, found.bundles)

    async def _raise_cursor(self, key: str, log: LogId, offset: int) -> None:
        update = self._client.update_item(
            TableName=self._table,
            Key={"user_id": {"S": key}, "position": {"S": CURSOR_KEY}},
            UpdateExpression="SET #log = :offset",
            ConditionExpression="attribute_not_exists(#log) OR #log < :offset",
            ExpressionAttributeNames={"#log": log.encode()},
            ExpressionAttributeValues={":offset": {"N": str(offset)}},
        )
        # Already further, by another device or an attempt of our own: that is what we want.
        with suppress(ConditionFailed):
            await translated(update, self._table)

    async def _delete(self, key: str, bundles: Sequence[BundleKey]) -> None:
        for begin in range(0, len(bundles), DELETES_PER_CALL_MAX):
            requests = [
                {"DeleteRequest": {"Key": {"user_id": {"S": key}, "position": {"S": b.encode()}}}}
                for b in bundles[begin : begin + DELETES_PER_CALL_MAX]
            ]
            try:
                await translated(
                    self._client.batch_write_item(RequestItems={self._table: requests}),
                    self._table,
                )
            except MailboxError:
                return  # hidden by the cursor; the next page that meets them lists them again

    async def _query(
        self,
        key: str,
        *,
        limit: int | None = None,
        cursor: bool = False,
        after: str | None = None,
        start: Item | None = None,
    ) -> dict[str, Any]:
        """One strongly consistent Query of a mailbox: all, its cursor, or what is behind a key."""
        condition, values = "user_id = :user", {":user": {"S": key}}
        if cursor or after is not None:
            condition += " AND #position " + ("= :key" if cursor else "> :key")
            values[":key"] = {"S": CURSOR_KEY if after is None else after}
        arguments: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
        }
        if ":key" in values:
            arguments["ExpressionAttributeNames"] = {"#position": "position"}
        if limit is not None:
            arguments["Limit"] = limit
        if start is not None:
            arguments["ExclusiveStartKey"] = start
        answer = await translated(self._client.query(**arguments), self._table)
        if not isinstance(answer, dict) or not isinstance(answer.get("Items"), list):
            raise StoreUnavailable("the store's answer to a query is none")
        return answer

    async def _checked(self) -> TableRecord:
        """The table record, looked at within the last TABLE_CHECK_S. Raises TableMismatch."""
        now = self._clock()
        if self._record is not None and 0 <= now - self._checked_at < TABLE_CHECK_S:
            return self._record
        items = _items(await self._query(TABLE_RECORD_KEY))
        if not items:
            raise TableMismatch(f"the table {self._table!r} is not ours yet: run `poste init`")
        try:
            record = TableRecord.decode(items[0])
        except ValueError as error:
            raise TableMismatch(f"cannot use the table {self._table!r}: {error}") from None
        if self._record is not None and record.table_id != self._record.table_id:
            raise TableMismatch(
                f"the table {self._table!r} was replaced while it was open: open it again"
            )
        self._record, self._checked_at = record, now
        return record

    async def _with_record(self, query: Coroutine[Any, Any, T]) -> tuple[TableRecord, T]:
        """A Query, with the table record looked at beside it where that is due."""
        # Both are waited for, so that neither's error is left behind.
        record, answer = await asyncio.gather(self._checked(), query, return_exceptions=True)
        if isinstance(record, BaseException):
            raise record
        if isinstance(answer, BaseException):
            raise answer
        return record, answer


def _items(answer: dict[str, Any]) -> list[Item]:
    items: list[Item] = answer["Items"]
    return items


def _cursor(items: list[Item]) -> Cursor:
    """The cursor, which is the first item if there is one."""
    if items and items[0]["position"]["S"] == CURSOR_KEY:
        return decode_cursor(items[0])
    return {}


@asynccontextmanager
async def open_mailboxes(
    *,
    table: str = "mailboxes",
    receipt_keys: Sequence[str | bytes] = (),
    timeout_s: float = TIMEOUT_S,
    attempts: int = ATTEMPTS,
    connections: int = CONNECTIONS,
) -> AsyncIterator[Mailboxes]:
    """Mailboxes over a client of their own, with a gateway's time-outs and pool.

    Address, region and credentials are the AWS SDK's own variables and files. timeout_s: to
    connect, and to wait for an answer. attempts: of one call, in all.

    Reads the table record; raises as `Mailboxes.fetch` does.
    """
    import aioboto3
    from aiobotocore.config import AioConfig

    config = AioConfig(
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        max_pool_connections=connections,
    )
    opening = aioboto3.Session().client("dynamodb", config=config)
    client = await translated(opening.__aenter__(), table)
    try:
        mailboxes = Mailboxes(client, table=table, receipt_keys=receipt_keys)
        await mailboxes._checked()  # noqa: SLF001 - our own
        yield mailboxes
    finally:
        await opening.__aexit__(None, None, None)
