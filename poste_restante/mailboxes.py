"""Mailboxes: fetch what waits for a user, and acknowledge it.

A fetch is one strongly consistent Query: the cursor sorts before every bundle, so it comes with
them. An acknowledgement raises the cursor first, and deletes bundles only where that is
confirmed: whatever is cut off in between, nothing comes back and nothing is lost.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from poste_restante import arguments
from poste_restante.ahead import Ahead, ReadAhead, run_of
from poste_restante.credentials import Credentials, CredentialsError, CredentialsFault
from poste_restante.errors import MailboxError, UnreadableItem
from poste_restante.item import Item
from poste_restante.lifetime import Lifetime
from poste_restante.message import Message
from poste_restante.position import CURSOR_KEY
from poste_restante.reading import Limits, Reading
from poste_restante.receipt import Receipt, Receipts
from poste_restante.store import QUERY_ITEMS_MAX, Items, Store, without_credentials
from poste_restante.table import Cursor, TableRecord, decode_cursor
from poste_restante.watch import TableWatch

#: Bundles that the first look behind a page asks for. Most mailboxes answer with a visible one,
#: and it is not returned: one is the cheapest.
LOOK_AHEAD_ITEMS = 1

#: Defaults of `open_mailboxes`, for a gateway with a user waiting at the other end.
TIMEOUT_S, ATTEMPTS, CONNECTIONS = 2.0, 2, 200
#: Seconds, at random up to it, before credentials are asked for again on opening.
CREDENTIALS_BACKOFF_S = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """What one fetch returned.

    messages: in log order per partition. receipt: for `ack`, or for `fetch(after=...)`; None
    where nothing was passed. It covers everything up to the end of the page, so the pages that it
    was fetched behind as well. A page without messages may carry one: acknowledging it cleans up.
    more: a further message waits behind this page.
    """

    messages: tuple[Message, ...]
    receipt: str | None
    more: bool


class Mailboxes:
    """The mailboxes of one table.

    client: anything with `query`, `update_item` and `batch_write_item` as aiobotocore's DynamoDB
    client has them. receipt_keys: the first signs, all verify; with none, receipts are
    checksummed only. clock: epoch seconds. calls_in_flight_max: no call of the client is begun
    above it, so that its time-outs are the store's and not those of a queue; the client should have
    as many connections. A call waits for its turn (`store.TURN_S_MAX`).

    Every method raises StoreUnavailable, TableMismatch or MailboxError as `errors` says; TypeError
    or ValueError, before anything is called, for an argument that cannot be used; and RuntimeError
    in another event loop than the first call was made in, or after `open_mailboxes` has closed.
    Cancelling any of them anywhere is safe.
    """

    def __init__(
        self,
        client: Any,
        *,
        table: str = "mailboxes",
        receipt_keys: Sequence[str | bytes] = (),
        clock: Callable[[], float] = time.time,
        calls_in_flight_max: int = CONNECTIONS,
    ) -> None:
        arguments.text("table", table)
        arguments.number("calls_in_flight_max", calls_in_flight_max, 1)
        self._lifetime = Lifetime("mailboxes")
        self._store = Store(client, table, calls_in_flight_max=calls_in_flight_max)
        self._watch = TableWatch(self._store, table, clock)
        self._receipts = Receipts(receipt_keys)
        self._ahead = ReadAhead()
        self._clock = clock

    async def fetch(
        self,
        user_id: str,
        *,
        limit: int | None = None,
        max_bytes: int | None = None,
        after: str | None = None,
    ) -> Page:
        """What waits for a user, or what follows a receipt. Acknowledges nothing.

        after: the receipt of a page. The receipt of the one that follows covers that page too:
        acknowledge it when both have arrived.
        limit: messages. max_bytes: of bodies and headers together; a page has at least one
        message, if one waits. Without a limit a page is one whole Query, at most 1 MB. What was
        read beyond a page is kept for the mailbox's next one (`ahead`).

        Raises InvalidReceipt for `after`, and UnreadableItem where an item that cannot be read
        stands at the head.
        """
        key = arguments.mailbox(user_id)
        arguments.optional_number("limit", limit, 1)
        arguments.optional_number("max_bytes", max_bytes, 1)
        async with self._lifetime.call():
            return await self._fetch(user_id, key, limit, max_bytes, after)

    async def _fetch(
        self,
        user_id: str,
        key: str,
        limit: int | None,
        max_bytes: int | None,
        after: str | None,
    ) -> Page:
        items_max = None if limit is None else limit + 1  # the cursor is an item too
        ahead = self._ahead.take(key, self._clock())
        if limit is None and max_bytes is None:
            ahead = None  # such a page is what one Query brings
        if after is None:
            begin = self._begin(key, items_max, ahead)
            record, found = await self._with_record(begin)
            cursor, start = _cursor(found.items), None
        else:
            record, found = await self._with_record(self._store.query(key, only=CURSOR_KEY))
            start = self._receipts.decode(after, table_id=record.table_id, user_id=user_id)
            cursor = _cursor(found.items)
            if ahead is not None and ahead.boundary == start.boundary:
                found = Items(ahead.items, ahead.last)
            else:
                found = await self._store.query(key, after=start.boundary, limit=items_max)
        reading = Reading(
            user_id=user_id,
            topic=record.topic,
            now=datetime.fromtimestamp(self._clock(), tz=UTC),
            cursor=cursor,
            limits=Limits(limit, max_bytes),
            start=start,
        )
        reading.add(found.items)
        if ahead is not None and found.last == ahead.last and not reading.ended:
            # What was kept is short of a page: one Query more, for the rest of the page.
            if items_max is not None:
                items_max -= len(reading.messages)
            found = await self._store.query(key, start=found.last, limit=items_max)
            reading.add(found.items)
        await self._read_on(reading, key, items_max, found.last)
        self._keep(key, reading, ahead)
        return self._page(reading, record)

    async def _begin(self, key: str, items_max: int | None, ahead: Ahead | None) -> Items:
        """The mailbox from its begin: one Query, whether or not some of it was read before."""
        if ahead is None:
            return await self._store.query(key, limit=items_max)
        before = await self._store.query(key, up_to=ahead.boundary, limit=items_max)
        if before.last is not None:
            return before  # there is more before what was kept: read on in order
        return Items([*before.items, *ahead.items], ahead.last)

    def _keep(self, key: str, reading: Reading, before: Ahead | None) -> None:
        """What was read beyond the page is for the next one."""
        if reading.unreadable is None:
            ahead = run_of(reading.boundary, reading.unread, before)
            if ahead is not None:
                self._ahead.keep(key, ahead, self._clock())

    async def _read_on(
        self, reading: Reading, key: str, items_max: int | None, last: Item | None
    ) -> None:
        """Query until there is a message, then only until it is known whether there is more.

        Ends with the mailbox at the latest; each Query asks for twice as much as the one before,
        so that a small limit does not make many of them where much is hidden.
        """
        while last is not None and not reading.ended:
            if reading.messages and not reading.closed:
                reading.close()
                items_max = LOOK_AHEAD_ITEMS
            elif items_max is not None:
                items_max = min(2 * items_max, QUERY_ITEMS_MAX)
            items, last = await self._store.query(key, start=last, limit=items_max)
            reading.add(items)

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
    ) -> AsyncGenerator[Page, None]:
        """All that waits for a user, page by page, without acknowledging.

        The last page's receipt covers all of them. Raises as `fetch` does.
        """
        page = await self.fetch(user_id, limit=limit, max_bytes=max_bytes)
        yield page
        while page.more:
            page = await self.fetch(user_id, limit=limit, max_bytes=max_bytes, after=page.receipt)
            yield page

    async def ack(self, user_id: str, receipt: str | None) -> None:
        """Acknowledge what a reading has passed: it never comes back.

        Idempotent, and never a step back: an older receipt changes nothing. Returns when the
        cursor is raised; a delete that fails is harmless, the cursor hides what is left. None,
        the receipt of a page that passed nothing, acknowledges nothing.

        Raises InvalidReceipt for a receipt that is not of this mailbox and table.
        """
        key = arguments.mailbox(user_id)
        async with self._lifetime.call():
            if receipt is None:
                return
            record = await self._watch.record()
            found = self._receipts.decode(receipt, table_id=record.table_id, user_id=user_id)
            for log, reach in found.logs.items():
                if reach.covered >= 0:
                    await self._store.raise_cursor(key, log, reach.covered)
            # `decode` has checked that every bundle is covered, in a log that is confirmed by now.
            await self._store.delete(key, found.bundles)

    async def _open(self) -> None:
        """Look at the table record. Raises as `fetch` does."""
        async with self._lifetime.call():
            await self._watch.record()

    async def _close(self) -> None:
        """Refuse further calls; the client's connections are free when this returns."""
        try:
            await self._lifetime.close()
        finally:
            await self._watch.close()

    async def _with_record(self, query: Coroutine[Any, Any, T]) -> tuple[TableRecord, T]:
        """A Query, with the table record looked at beside it where that is due."""
        known = self._watch.known()
        if known is not None:
            return known, await query
        # Both are waited for, so that neither's error is left behind.
        record, answer = await asyncio.gather(self._watch.record(), query, return_exceptions=True)
        if isinstance(record, BaseException):
            raise record
        if isinstance(answer, BaseException):
            raise answer
        return record, answer


def _cursor(items: Sequence[Item]) -> Cursor:
    """The cursor among the items, before all bundles. Raises MailboxError for a damaged one."""
    for item in items:
        if item["position"]["S"] == CURSOR_KEY:
            try:
                return decode_cursor(item)
            except ValueError as error:
                # Without it, what was acknowledged would come back: somebody has to look.
                raise MailboxError(f"the mailbox's cursor cannot be read: {error}") from error
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
    connect, and to wait for an answer. attempts: of one call, in all. connections: calls under way
    at a time; any number may be made at once, the others wait for their turn.

    Reads the table record; raises as `Mailboxes.fetch` does. At its end further calls are refused
    (RuntimeError), those under way get `lifetime.CLOSE_S_MAX` seconds, and what is left is ended
    (StoreUnavailable); then the connections are closed. Open one in each event loop.
    """
    arguments.seconds("timeout_s", timeout_s)
    arguments.number("attempts", attempts, 1)
    arguments.number("connections", connections, 1)
    import aioboto3
    import botocore
    from aiobotocore.config import AioConfig
    from botocore.exceptions import BotoCoreError

    from poste_restante.direct import DirectClient, require_endpoint

    config = AioConfig(
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        max_pool_connections=connections,
        user_agent=f"poste-restante botocore/{botocore.__version__}",  # what AWS's logs call us
    )
    async with AsyncExitStack() as stack:
        try:
            session = aioboto3.Session()
            credentials = Credentials(session)
            await _asked(credentials, attempts)  # the client keeps what it finds, also none
            client = await stack.enter_async_context(session.client("dynamodb", config=config))
            require_endpoint(client)
        except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no address
            raise MailboxError(
                f"cannot use the store: {error}; check the AWS SDK's variables and files"
                " (AWS_PROFILE, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_DYNAMODB)"
            ) from error
        mailboxes = Mailboxes(
            DirectClient(client, credentials),
            table=table,
            receipt_keys=receipt_keys,
            calls_in_flight_max=connections,
        )
        stack.push_async_callback(mailboxes._close)  # noqa: SLF001 - our own
        await mailboxes._open()  # noqa: SLF001 - our own
        yield mailboxes


async def _asked(credentials: Credentials, attempts: int) -> None:
    """Asks a source that may fail once for credentials. Raises as `store.translated` says."""
    for attempt in range(1, attempts + 1):
        try:
            await credentials.get_frozen_credentials()
        except CredentialsError as error:
            if attempt == attempts or error.fault is CredentialsFault.CONFIGURATION:
                raise without_credentials(error) from error
            await asyncio.sleep(random.uniform(0, CREDENTIALS_BACKOFF_S))
        else:
            return
