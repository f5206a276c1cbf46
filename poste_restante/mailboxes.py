"""Fetch and acknowledge the messages of mailboxes.

A fetch takes one or two strongly consistent Queries. The first one returns the cursor, which sorts
before every bundle, and the reading skips what the cursor hides. An acknowledgement raises the
cursor of the account or of a device. After an interruption nothing acknowledged comes back and
nothing is lost.
"""

import asyncio
import random
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from poste_restante import arguments
from poste_restante.catch_up import CatchUp, ClaimsEvidence, as_datetime, parse_until
from poste_restante.claims import CLOCK_SKEW_S, Freshness
from poste_restante.claims_reader import ClaimsReader
from poste_restante.credentials import Credentials, CredentialsError, CredentialsFault
from poste_restante.devices import STARTS, Cursors, Device, DeviceStart
from poste_restante.errors import MailboxError, UnreadableItem
from poste_restante.lifetime import Lifetime
from poste_restante.mailbox_store import MailboxStore
from poste_restante.meter import NO_MEASUREMENT, CallMeasurement, Meter
from poste_restante.metrics import NO_METRICS, Load, Metrics, Operation
from poste_restante.page import Page
from poste_restante.partitioners import Partitioner, resolve_partitioner
from poste_restante.prefetch import PrefetchCache, select_prefetched
from poste_restante.reading import PageLimits, Reading
from poste_restante.receipt import Receipt, Receipts
from poste_restante.scan import Scan
from poste_restante.store import DynamoDBMailboxStore, translate_credentials_error
from poste_restante.table import TableRecord
from poste_restante.table_check import TableCheck
from poste_restante.tidying import Tidying

#: Defaults of `open_mailboxes`, for a gateway with a waiting user.
TIMEOUT_S, ATTEMPTS, CONNECTIONS = 2.0, 2, 200
#: Maximum of the random seconds before credentials are requested again at opening.
CREDENTIALS_BACKOFF_S = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _FetchRequest:
    """The checked arguments of a fetch. key: the mailbox's partition key. cursor: the sort key of
    the device's or the account's cursor."""

    user_id: str
    key: str
    device: str | None
    cursor: str
    limit: int | None = None
    max_bytes: int | None = None
    after: str | None = None
    since: str | None = None
    freshness: bool = False


class Mailboxes:
    """The mailboxes of one table.

    client: an object with `query`, `update_item` and `batch_write_item`, as aiobotocore's DynamoDB
        client has them.
    receipt_keys: the first one signs, all verify. Without keys, receipts have a checksum only.
    clock: epoch seconds.
    calls_in_flight_max: calls of the client at a time, so that none times out in the client's
        queue. The client should have as many connections. Further calls wait for a slot
        (`store.SLOT_S_MAX`).
    delete_acknowledged: an acknowledgement also deletes the bundles that every cursor of the
        mailbox has passed, which TTL removes otherwise. A delete costs what the write cost. A
        device without a cursor keeps nothing: add it before the account acknowledges what it is to
        see.
    metrics: the receiver of the mailboxes' metrics (`poste_restante.metrics`). An error of it fails
        no call and is logged once. An object that lacks a method raises TypeError.
    partitioner: the function by which all producers choose a key's partition, for `freshness`:
        "murmur2" (Java, Kafka Streams, aiokafka), "crc32" (librdkafka's default), or a callable
        (key bytes, number of partitions) -> partition. None: unknown, so that a proof needs the
        claims of all partitions. A wrong one causes wrong proofs.
    clock_skew_s: seconds by which the clocks of workers and gateways may differ. Every instant is
        earlier by it.

    device: the account (None) and each device read what their own cursor has not passed. A device
    without a cursor reads from the account's. Its first acknowledgement, or `add_device`, creates
    its cursor. A name has 1 to 64 characters of A-Z, a-z, 0-9 and ._:-.

    Every method raises StoreUnavailable, TableMismatch or MailboxError as `errors` describes. It
    raises TypeError or ValueError, before any call, for an unusable argument. It raises
    RuntimeError in another event loop than that of the first call, and after `open_mailboxes` has
    closed. Every method may be cancelled.
    """

    def __init__(
        self,
        client: Any,
        *,
        table: str = "mailboxes",
        receipt_keys: Sequence[str | bytes] = (),
        clock: Callable[[], float] = time.time,
        calls_in_flight_max: int = CONNECTIONS,
        delete_acknowledged: bool = False,
        metrics: Metrics = NO_METRICS,
        partitioner: str | Partitioner | None = None,
        clock_skew_s: float = CLOCK_SKEW_S,
    ) -> None:
        arguments.text("table", table)
        arguments.number("calls_in_flight_max", calls_in_flight_max, 1)
        meter = Meter(arguments.metrics("metrics", metrics))
        store = DynamoDBMailboxStore(
            client, table, calls_in_flight_max=calls_in_flight_max, meter=meter
        )
        self._assemble(
            store,
            table=table,
            receipt_keys=receipt_keys,
            clock=clock,
            delete_acknowledged=delete_acknowledged,
            meter=meter,
            load=store.limiter,
            partitioner=partitioner,
            clock_skew_s=clock_skew_s,
        )

    def _assemble(
        self,
        store: MailboxStore,
        *,
        table: str,
        receipt_keys: Sequence[str | bytes],
        clock: Callable[[], float],
        delete_acknowledged: bool,
        meter: Meter,
        load: Load | None = None,
        partitioner: str | Partitioner | None = None,
        clock_skew_s: float = CLOCK_SKEW_S,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Initialize the mailboxes over any store. table: its name in errors. load: of the store.
        sleep, monotonic: for the waits of `catch_up`, in seconds."""
        self._partitioner = resolve_partitioner(partitioner)
        self._skew_s = arguments.seconds_or_0("clock_skew_s", clock_skew_s)
        self._claims_reader = ClaimsReader(store, self._skew_s, clock)
        self._sleep, self._monotonic = sleep, monotonic
        self._meter = meter
        self._load = load
        self._lifetime = Lifetime("mailboxes")
        self._store = store
        self._table_check = TableCheck(self._store, table, clock)
        self._receipts = Receipts(receipt_keys)
        self._cursors = Cursors(self._store)
        self._tidying = Tidying(self._store, self._cursors)
        self._delete_acknowledged = delete_acknowledged
        self._prefetch = PrefetchCache()
        self._clock = clock
        if load is not None:
            meter.metrics.opened(load)  # nothing raises from here on

    async def fetch(
        self,
        user_id: str,
        *,
        limit: int | None = None,
        max_bytes: int | None = None,
        after: str | None = None,
        since: str | None = None,
        device: str | None = None,
        freshness: bool = False,
    ) -> Page:
        """Return a page of the messages that wait for a user or a device. Acknowledges nothing.

        after: the receipt of a page that this page follows. The receipt of the returned page covers
            both: acknowledge it when both have arrived.
        since: the receipt of a page, which counts as acknowledged. Messages that have arrived
            meanwhile are returned. A client that keeps its last receipt needs no acknowledgement.
        limit: messages.
        max_bytes: of bodies and headers together. A page has at least one message, if one waits.
            Without a limit a page is about one Query, 1 MB. Items read beyond a page are kept for
            the mailbox's next page (`prefetch`).
        freshness: whether the page states the instant up to which it is complete
            (`Page.fresh_as_of`). The workers' claims are then read first, at most once in
            `claims_reader.CLAIMS_READ_S` for all calls. Not with `after`, since messages may have
            arrived before such a page.

        Raises InvalidReceipt for `after` and `since`, and UnreadableItem if the next item cannot be
        read.
        """
        key, position = arguments.mailbox(user_id), arguments.optional_device("device", device)
        arguments.optional_number("limit", limit, 1)
        arguments.optional_number("max_bytes", max_bytes, 1)
        if after is not None and since is not None:
            raise ValueError("a page is fetched after a receipt or since one, not both")
        if after is not None and freshness:
            raise ValueError("a page behind another one proves nothing: fetch it since a receipt")
        request = _FetchRequest(
            user_id, key, device, position, limit, max_bytes, after, since, freshness
        )
        page, _ = await self._fetch_page(request)
        return page

    async def _fetch_page(self, request: "_FetchRequest") -> tuple[Page, ClaimsEvidence | None]:
        """Fetch as `_fetch` does, as one measured call."""
        async with self._lifetime.call():
            with self._meter.call(Operation.FETCH) as measurement:
                return await self._fetch(request, measurement=measurement)

    async def _fetch(
        self, request: "_FetchRequest", *, measurement: CallMeasurement, keep: bool = True
    ) -> tuple[Page, ClaimsEvidence | None]:
        """Return a page, and the claims before it if the request asks for freshness. keep: whether
        items read beyond the page are kept for the next one.

        Kept items, read before the claims, prove as much as a Query, for the reasons in `prefetch`.
        """
        user_id, key, device = request.user_id, request.key, request.device
        limit, max_bytes = request.limit, request.max_bytes
        after, since = request.after, request.since
        claimed = await self._read_claims() if request.freshness else None
        ahead = self._prefetch.take(key, self._clock())
        if limit is None and max_bytes is None:
            ahead = None  # such a page is one Query
        scan = Scan(self._store, key, limit, ahead)

        def decoded(receipt: str | None) -> Receipt | None:
            if receipt is None:
                return None
            return self._receipts.decode(
                receipt, table_id=record.table_id, user_id=user_id, device=device
            )

        if after is None:
            begin = scan.begin(None if device is None else request.cursor)
            record, found = await self._with_record(begin)
            begun = decoded(since)
            cursor = await self._cursors.read_from(found.items, key, device)
        else:
            record, cursor = await self._with_record(self._cursors.read(key, device))
            begun = decoded(after)
            assert begun is not None
            await scan.begin_behind(begun.boundary)
        reading = Reading(
            user_id=user_id,
            topic=record.topic,
            now=datetime.fromtimestamp(self._clock(), tz=UTC),
            cursor=cursor.offsets,
            inherited=cursor.inherited,
            limits=PageLimits(limit, max_bytes),
            start=None if after is None else begun,
            since=None if since is None else begun,
        )
        await scan.read(reading)
        if keep and reading.unreadable is None:
            beyond = select_prefetched(reading.boundary, reading.unread, ahead)
            if beyond is not None:
                self._prefetch.keep(key, beyond, self._clock())
        page = self._page(reading, record, device)
        continues = after is not None and not (limit is None and max_bytes is None)
        measurement.record_page(page.messages, continues=continues, prefetched=scan.has_used_ahead)
        if claimed is None:
            return page, None
        evidence = ClaimsEvidence(claimed, self._partitions(user_id, claimed, reading))
        as_of_ms = claimed.as_of_ms(evidence.partitions)
        return replace(page, fresh_as_of=as_datetime(as_of_ms, self._skew_s)), evidence

    async def _read_claims(self) -> Freshness:
        return await self._claims_reader.freshness(await self._table_check.record())

    def _partitions(self, user_id: str, freshness: Freshness, reading: Reading) -> frozenset[int]:
        """Return the partitions to which a user's messages may be appended, and those of the
        messages that the mailbox has."""
        met = {log.partition for log in reading.progress.logs if log.epoch == freshness.epoch}
        return frozenset({*met, *freshness.partitions_of(user_id, self._partitioner)})

    def _page(self, reading: Reading, record: TableRecord, device: str | None) -> Page:
        def token(receipt: Receipt) -> str:
            return self._receipts.encode(
                receipt, table_id=record.table_id, user_id=reading.user_id, device=device
            )

        if reading.unreadable is not None and not reading.messages:
            item = reading.unreadable
            raise UnreadableItem(
                item.key, item.reason, after=token(reading.receipt_past_unreadable())
            )
        receipt = reading.receipt()
        return Page(
            tuple(reading.messages), None if receipt is None else token(receipt), reading.more
        )

    async def pages(
        self,
        user_id: str,
        *,
        limit: int | None = None,
        max_bytes: int | None = None,
        since: str | None = None,
        device: str | None = None,
    ) -> AsyncGenerator[Page, None]:
        """Yield all messages that wait for a user or a device, page by page, without acknowledging.

        The last page's receipt covers all pages. Raises as `fetch` does.
        """
        page = await self.fetch(
            user_id, limit=limit, max_bytes=max_bytes, since=since, device=device
        )
        yield page
        while page.more:
            page = await self.fetch(
                user_id, limit=limit, max_bytes=max_bytes, after=page.receipt, device=device
            )
            yield page

    def catch_up(
        self,
        user_id: str,
        *,
        until: datetime | Mapping[int, int],
        device: str | None = None,
        since: str | None = None,
        timeout_s: float = 10.0,
        limit: int | None = None,
        max_bytes: int | None = None,
    ) -> CatchUp:
        """Return an iterator over waiting messages, page by page, that ends when a proof shows that
        none is missing.

        until: an instant; every message appended before it is read. Use the one from which the user
            gets live messages: the registration plus the time until the last sender sees it. Or
            offsets by partition, as producers' acknowledgements name them: those records and all
            before them. No clock is compared then.
        since: as in `fetch`.
        timeout_s: 0 reads once.
        limit, max_bytes: of a page.

        The end of the iteration sets `complete`.
        """
        key, position = arguments.mailbox(user_id), arguments.optional_device("device", device)
        arguments.optional_number("limit", limit, 1)
        arguments.optional_number("max_bytes", max_bytes, 1)
        request = _FetchRequest(user_id, key, device, position, limit, max_bytes)
        return CatchUp(
            _MailboxPageSource(
                request, self._lifetime, self._claims_reader, self._read_claims, self._fetch_page
            ),
            parse_until(until),
            since=since,
            timeout_s=arguments.seconds_or_0("timeout_s", timeout_s),
            skew_s=self._skew_s,
            clock=self._monotonic,
            sleep=self._sleep,
        )

    async def count(self, user_id: str, *, device: str | None = None, limit: int = 1000) -> int:
        """Return the number of waiting messages, up to a limit. Reads their bodies, and keeps none.

        Raises as `fetch` does.
        """
        key, position = arguments.mailbox(user_id), arguments.optional_device("device", device)
        arguments.number("limit", limit, 1)
        counted, after = 0, None
        async with self._lifetime.call():
            while True:
                request = _FetchRequest(
                    user_id, key, device, position, limit - counted, after=after
                )
                page, _ = await self._fetch(request, measurement=NO_MEASUREMENT, keep=False)
                counted, after = counted + len(page.messages), page.receipt
                if counted >= limit or not page.more:
                    return counted

    async def ack(self, user_id: str, receipt: str | None, *, device: str | None = None) -> None:
        """Acknowledge the messages that a reading has passed, which never come back.

        Idempotent: an older receipt changes nothing. Returns when the cursor is raised. None, the
        receipt of a page that passed nothing, acknowledges nothing. device: of the fetch; a cursor
        is created if it has none. With `delete_acknowledged`, a failed delete is harmless, because
        the cursor hides the messages.

        Raises InvalidReceipt for a receipt of another mailbox, table or device.
        """
        key, _ = arguments.mailbox(user_id), arguments.optional_device("device", device)
        async with self._lifetime.call():
            if receipt is None:
                return
            with self._meter.call(Operation.ACK):
                record = await self._table_check.record()
                found = self._receipts.decode(
                    receipt, table_id=record.table_id, user_id=user_id, device=device
                )
                # Deleting first would be harmless only because `Tidying` reads the stored cursors.
                await self._cursors.raise_to(key, device, found.logs)
                if self._delete_acknowledged:
                    acknowledged = {log: reach.ackable_to for log, reach in found.logs.items()}
                    await self._tidying.after_ack(key, acknowledged)

    async def tidy(self, user_id: str) -> int:
        """Delete the bundles that the account's and every device's cursor has passed.

        Returns their number, at most `tidying.BUNDLES_MAX`. The next call, or TTL, deletes the
        rest. Nothing is deleted if the account has acknowledged nothing.
        """
        key = arguments.mailbox(user_id)
        async with self._lifetime.call():
            await self._table_check.record()
            return await self._tidying.tidy(key)

    async def add_device(self, user_id: str, device: str, start: DeviceStart = "account") -> bool:
        """Create a device's cursor. Returns False, and changes nothing, if it exists.

        start: "oldest" begins before all stored messages, "newest" after them, "account" at the
        account's cursor.
        """
        key, _ = arguments.mailbox(user_id), arguments.device("device", device)
        arguments.one_of("start", start, STARTS)
        async with self._lifetime.call():
            await self._table_check.record()
            return await self._cursors.add(key, device, start)

    async def devices(self, user_id: str) -> tuple[Device, ...]:
        """Return the devices of a mailbox that have a cursor, by name."""
        key = arguments.mailbox(user_id)
        async with self._lifetime.call():
            await self._table_check.record()
            return await self._cursors.devices(key)

    async def remove_device(self, user_id: str, device: str) -> None:
        """Delete a device's cursor. The device then reads from the account's."""
        key, _ = arguments.mailbox(user_id), arguments.device("device", device)
        async with self._lifetime.call():
            await self._table_check.record()
            await self._cursors.remove(key, device)

    async def _open(self) -> None:
        """Read the table record. Raises as `fetch` does."""
        async with self._lifetime.call():
            await self._table_check.record()

    async def _close(self) -> None:
        """Refuse further calls. When this returns, the client's connections are free."""
        try:
            await self._lifetime.close()
        finally:
            await self._claims_reader.close()
            await self._table_check.close()
            if self._load is not None:
                self._meter.metrics.closed(self._load)

    async def _with_record(self, query: Coroutine[Any, Any, T]) -> tuple[TableRecord, T]:
        """Run a Query and, if that is due, read the table record beside it."""
        known = self._table_check.cached()
        if known is not None:
            return known, await query
        # Wait for both, so that neither's error is lost.
        record, answer = await asyncio.gather(
            self._table_check.record(), query, return_exceptions=True
        )
        if isinstance(record, BaseException):
            raise record
        if isinstance(answer, BaseException):
            raise answer
        return record, answer


@dataclass(frozen=True, slots=True)
class _MailboxPageSource:
    """The `PageSource` of one mailbox."""

    request: _FetchRequest
    lifetime: Lifetime
    claims_reader: ClaimsReader
    read_claims: Callable[[], Awaitable[Freshness]]
    fetch: Callable[[_FetchRequest], Awaitable[tuple[Page, ClaimsEvidence | None]]]

    async def fetch_first(self, since: str | None) -> tuple[Page, ClaimsEvidence]:
        page, evidence = await self.fetch(replace(self.request, since=since, freshness=True))
        assert evidence is not None
        return page, evidence

    async def fetch_next(self, after: str | None) -> Page:
        page, _ = await self.fetch(replace(self.request, after=after))
        return page

    async def freshness(self) -> Freshness:
        async with self.lifetime.call():
            return await self.read_claims()

    def due_in_s(self) -> float:
        return self.claims_reader.due_in_s()


@asynccontextmanager
async def open_mailboxes(
    *,
    table: str = "mailboxes",
    receipt_keys: Sequence[str | bytes] = (),
    timeout_s: float = TIMEOUT_S,
    attempts: int = ATTEMPTS,
    connections: int = CONNECTIONS,
    delete_acknowledged: bool = False,
    metrics: Metrics = NO_METRICS,
    partitioner: str | Partitioner | None = None,
    clock_skew_s: float = CLOCK_SKEW_S,
) -> AsyncIterator[Mailboxes]:
    """Open mailboxes over a client of their own, with time-outs and a pool for a gateway.

    The AWS SDK's variables and files set address, region and credentials.

    timeout_s: to connect, and to wait for an answer.
    attempts: of one call, in all.
    connections: calls at a time. Any number may be made at once; the others wait.
    delete_acknowledged, metrics, partitioner, clock_skew_s: as for `Mailboxes`.

    Reads the table record and raises as `Mailboxes.fetch` does. The end of the block refuses
    further calls (RuntimeError), gives those under way `lifetime.CLOSE_S_MAX` seconds, ends the
    rest (StoreUnavailable), and closes the connections. Open one in each event loop.
    """
    arguments.seconds("timeout_s", timeout_s)
    arguments.number("attempts", attempts, 1)
    arguments.number("connections", connections, 1)
    meter = Meter(arguments.metrics("metrics", metrics))
    resolve_partitioner(partitioner)
    arguments.seconds_or_0("clock_skew_s", clock_skew_s)
    import aioboto3
    from botocore.exceptions import BotoCoreError

    from poste_restante.reader_client import reader_client
    from poste_restante.wire import require_endpoint

    config = reader_config(timeout_s=timeout_s, attempts=attempts, connections=connections)
    async with AsyncExitStack() as stack:
        try:
            session = aioboto3.Session()
            credentials = Credentials(session)
            # Before the client, which caches the result, also none.
            await _require_credentials(credentials, attempts)
            client = await stack.enter_async_context(session.client("dynamodb", config=config))
            require_endpoint(client)
        except (BotoCoreError, ValueError) as error:  # ValueError: an invalid endpoint
            raise MailboxError(
                f"cannot use the store: {error}; check the AWS SDK's variables and files"
                " (AWS_PROFILE, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_DYNAMODB)"
            ) from error
        mailboxes = Mailboxes(
            await reader_client(client, credentials, meter.count_throttled),
            table=table,
            receipt_keys=receipt_keys,
            calls_in_flight_max=connections,
            delete_acknowledged=delete_acknowledged,
            metrics=meter.metrics,
            partitioner=partitioner,
            clock_skew_s=clock_skew_s,
        )
        stack.push_async_callback(mailboxes._close)  # noqa: SLF001 - our own
        await mailboxes._open()  # noqa: SLF001 - our own
        yield mailboxes


def reader_config(*, timeout_s: float, attempts: int, connections: int) -> Any:
    """Return the configuration of aiobotocore's client. Arguments are those of `open_mailboxes`."""
    import botocore
    from aiobotocore.config import AioConfig

    return AioConfig(
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        max_pool_connections=connections,
        user_agent=f"poste-restante botocore/{botocore.__version__}",  # the name in AWS's logs
    )


async def _require_credentials(credentials: Credentials, attempts: int) -> None:
    """Get credentials from a source that may fail once. Raises as `store.translate_errors` does."""
    for attempt in range(1, attempts + 1):
        try:
            await credentials.get_frozen_credentials()
        except CredentialsError as error:
            if attempt == attempts or error.fault is CredentialsFault.CONFIGURATION:
                raise translate_credentials_error(error) from error
            await asyncio.sleep(random.uniform(0, CREDENTIALS_BACKOFF_S))
        else:
            return
