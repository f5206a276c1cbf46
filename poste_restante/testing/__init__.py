"""Mailboxes without a network, for the tests of gateways.

    pytest_plugins = ["poste_restante.testing"]         # in conftest.py: brings the fixture

    async def test_bob_gets_his_messages(mailboxes):
        mailboxes.deliver("bob", b"hello")
        page = await mailboxes.fetch("bob")

They are the real `Mailboxes` over a store in memory, which a contract suite compares with
DynamoDB's, call by call. They are an asynchronous context manager too, as `open_mailboxes` is.

Time is simulated. It passes when a test calls `advance`, and while `catch_up` waits, which takes no
real time. A message can be in flight, as between Kafka and the mailbox:

    async def test_a_reconnect_waits_for_what_is_on_its_way(mailboxes):
        mailboxes.deliver("bob", b"hello", after_s=3)
        catching_up = mailboxes.catch_up("bob", until=mailboxes.now)
        pages = [page async for page in catching_up]
        assert catching_up.complete
        assert pages[0].messages[0].body == b"hello"
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

from poste_restante import arguments
from poste_restante.claims import CLAIMS_KEY, CLOCK_SKEW_S, EXPIRES_S, Claim, WorkerClaims
from poste_restante.item import (
    ITEM_BYTES_MAX,
    Item,
    decode_bundle,
    encode_bundle,
    item_bytes_max,
    message_bytes_max,
)
from poste_restante.mailboxes import Mailboxes
from poste_restante.message import Header, Message
from poste_restante.meter import Meter
from poste_restante.metrics import NO_METRICS, Metrics
from poste_restante.partitioners import Partitioner
from poste_restante.position import EPOCH_MAX, PARTITION_MAX, TABLE_RECORD_KEY, LogId, Position
from poste_restante.store import translate_errors
from poste_restante.table import TableRecord
from poste_restante.testing.memory_store import PAGE_BYTES, MemoryStore

__all__ = ["InMemoryMailboxes"]

#: The name of the table in errors.
TABLE = "mailboxes"
#: A reader's calls, by their AWS names.
OPERATIONS = ("Query", "UpdateItem", "BatchWriteItem")
#: The first time of the clock.
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class _InFlightMessage(NamedTuple):
    """A message in flight. at_s, appended_s: epoch seconds."""

    at_s: float
    appended_s: float
    offset: int
    item: Item


class InMemoryMailboxes(Mailboxes):
    """`Mailboxes` with control of deliveries, the clock and failures.

    topic: of the ids of plain messages.
    page_bytes: limit of one Query.
    partitions: number of the topic's.
    receipt_keys, delete_acknowledged, metrics, partitioner, clock_skew_s: as for `Mailboxes`; there
        are no calls to DynamoDB to report.

    A method that raises changes nothing.
    """

    def __init__(
        self,
        *,
        topic: str = "undelivered-messages",
        receipt_keys: Sequence[str | bytes] = (),
        page_bytes: int = PAGE_BYTES,
        delete_acknowledged: bool = False,
        metrics: Metrics = NO_METRICS,
        partitions: int = 1,
        partitioner: str | Partitioner | None = None,
        clock_skew_s: float = CLOCK_SKEW_S,
    ) -> None:
        arguments.text("topic", topic)
        arguments.number("partitions", partitions, 1, PARTITION_MAX + 1)
        arguments.number("page_bytes", page_bytes, 1)
        self.memory = MemoryStore(page_bytes=page_bytes, before=self._before_call)
        self._now = BEGINNING
        self._topic = topic
        self._next_offsets: dict[LogId, int] = {}
        self._failures: list[tuple[str | None, Exception]] = []
        #: Messages in flight per log, in log order.
        self._in_flight: dict[LogId, deque[_InFlightMessage]] = {}
        self._freshness_lag_s: float | None = 0.0
        self._record = TableRecord(
            table_id=uuid.uuid4().hex, topic=topic, partitions=partitions, epoch=1
        )
        self.memory.put(self._record.encode())
        self._assemble(
            self.memory,
            table=TABLE,
            receipt_keys=receipt_keys,
            clock=self._seconds,
            delete_acknowledged=delete_acknowledged,
            meter=Meter(arguments.metrics("metrics", metrics)),
            partitioner=partitioner,
            clock_skew_s=clock_skew_s,
            sleep=self._pass_time,
            monotonic=self._seconds,
        )

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    def deliver(
        self,
        user_id: str,
        body: bytes = b"",
        *,
        id: str | None = None,  # noqa: A002 - the message's own name for it
        source: str | None = None,
        type: str | None = None,  # noqa: A002 - the message's own name for it
        time: datetime | None = None,
        content_type: str | None = None,
        headers: Iterable[Header] = (),
        expires_at: datetime | None = None,
        partition: int = 0,
        epoch: int = 1,
        after_s: float = 0.0,
    ) -> Message:
        """Put a message into the mailbox as the worker would, at the log's next offset.

        after_s: seconds of the clock until the message is in the mailbox. It is appended to the
            topic at once, so a proof of freshness, and later messages of the log, wait for it.
        time: by default the clock's.

        Returns the message as stored, with `expires_at` in whole milliseconds and `time` in
        microseconds. Raises TypeError or ValueError for an argument that no message has, and
        ValueError for a message that does not fit an item. The worker makes dead letters of such
        records.
        """
        arguments.mailbox(user_id)
        log = LogId(
            arguments.number("epoch", epoch, 1, EPOCH_MAX),
            arguments.number("partition", partition, 0, PARTITION_MAX),
        )
        offset = self._next_offsets.get(log, 0)
        position = Position(*log, offset)
        own_id = arguments.optional_text("id", id)
        message = Message(
            user_id=user_id,
            id=position.id(self._topic) if own_id is None else own_id,
            source=arguments.optional_text("source", source),
            type=arguments.optional_text("type", type),
            time=arguments.aware("time", self.now if time is None else time),
            content_type=arguments.optional_text("content_type", content_type),
            body=arguments.binary("body", body),
            headers=arguments.headers("headers", headers),
            expires_at=arguments.optional_aware("expires_at", expires_at),
            position=position,
        )
        size = item_bytes_max(user_id, message_bytes_max(message))
        if size > ITEM_BYTES_MAX:
            raise ValueError(
                f"the message does not fit an item: {size} bytes, of {ITEM_BYTES_MAX} at most"
            )
        item = encode_bundle([message], self._topic)
        (stored,) = decode_bundle(item, user_id, self._topic)
        seconds = arguments.seconds_or_0("after_s", after_s)
        # Nothing raises from here on.
        self._store_arrived()
        self._next_offsets[log] = offset + 1
        waiting = self._in_flight.get(log)
        if seconds or waiting:
            at_s = max(self._seconds() + seconds, waiting[-1].at_s if waiting else 0.0)
            self._in_flight.setdefault(log, deque()).append(
                _InFlightMessage(at_s, self._seconds(), offset, item)
            )
        else:
            self.memory.put(item)
        return stored

    @property
    def freshness_lag_s(self) -> float | None:
        """Return the seconds by which the workers' claims are behind the clock, at first 0. None:
        there are no claims, as without a worker. May be set to either."""
        return self._freshness_lag_s

    @freshness_lag_s.setter
    def freshness_lag_s(self, seconds: float | None) -> None:
        self._freshness_lag_s = (
            None if seconds is None else arguments.seconds_or_0("freshness_lag_s", seconds)
        )

    def _store_arrived(self) -> None:
        """Store the messages that are no longer in flight."""
        for waiting in self._in_flight.values():
            while waiting and waiting[0].at_s <= self._seconds():
                self.memory.put(waiting.popleft().item)

    def _store_claims(self) -> None:
        """Store the claims of a worker, as of now."""
        self.memory.items.pop(CLAIMS_KEY, None)
        if self._freshness_lag_s is None:
            return
        epoch = self._record.epoch
        highest = max(
            (log.partition for log in self._next_offsets if log.epoch == epoch), default=0
        )
        claims = {}
        for partition in range(max(self._record.partitions, highest + 1)):
            log = LogId(epoch, partition)
            as_of_s, below = self._seconds() - self._freshness_lag_s, self._next_offsets.get(log, 0)
            if waiting := self._in_flight.get(log):
                as_of_s, below = min(as_of_s, waiting[0].appended_s), waiting[0].offset
            claims[partition] = Claim(int(as_of_s * 1000), below)
        made = WorkerClaims(
            table_id=self._record.table_id, epoch=epoch, partitions=len(claims), claims=claims
        )
        self.memory.put(made.encode(int(self._seconds()) + EXPIRES_S))

    @property
    def now(self) -> datetime:
        """Return the clock, by which messages expire. May be set to any aware datetime."""
        return self._now

    @now.setter
    def now(self, now: datetime) -> None:
        self._now = arguments.aware("now", now)

    def _seconds(self) -> float:
        return self.now.timestamp()

    def advance(self, seconds: float) -> None:
        """Move the clock, by which messages expire; back, if `seconds` is negative."""
        if not isinstance(seconds, int | float):
            raise TypeError(f"seconds must be a number, not {type(seconds).__name__}")
        self.now += timedelta(seconds=seconds)

    async def _pass_time(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)

    def fail_next(self, error: Exception, *, operation: str | None = None, calls: int = 1) -> None:
        """Let the next calls of the store raise, for example `fail_next(StoreUnavailable("away"),
        operation="Query", calls=2)`.

        operation: Query (a fetch), UpdateItem (an acknowledgement) or BatchWriteItem (its deletes).
        None: any.

        Reads of the table record and of the claims are not counted.
        """
        if not isinstance(error, Exception):
            raise TypeError(f"error must be an exception that was made, not {error!r}")
        if operation not in {None, *OPERATIONS}:
            raise ValueError(f"operation must be one of {', '.join(OPERATIONS)}, not {operation!r}")
        arguments.number("calls", calls, 1)
        self._failures += [(operation, error)] * calls

    async def _before_call(self, operation: str, key: str) -> None:
        """Prepare a call. An ordered failure is translated as DynamoDB's errors are."""
        self._store_arrived()
        if key == CLAIMS_KEY:
            self._store_claims()
        await translate_errors(self._raise_ordered_failure(operation, key), TABLE)

    async def _raise_ordered_failure(self, operation: str, key: str) -> None:
        if key in {TABLE_RECORD_KEY, CLAIMS_KEY}:
            return
        for index, (wanted, error) in enumerate(self._failures):
            if wanted in {None, operation}:
                del self._failures[index]
                raise error


try:
    import pytest
except ImportError:  # a development server uses the class without pytest
    pass
else:

    @pytest.fixture
    def mailboxes() -> InMemoryMailboxes:
        """Return empty mailboxes, for one test."""
        return InMemoryMailboxes()
