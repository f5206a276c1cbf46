"""Mailboxes without a network, for the tests of those who use them.

    pytest_plugins = ["poste_restante.testing"]         # in conftest.py: brings the fixture

    async def test_bob_gets_his_messages(mailboxes):
        mailboxes.deliver("bob", b"hello")
        page = await mailboxes.fetch("bob")

It is the real `Mailboxes`, over a table in memory that our own contract suite runs on as well.
"""

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from poste_restante.item import (
    ITEM_BYTES_MAX,
    decode_bundle,
    encode_bundle,
    item_bytes_max,
    message_bytes_max,
)
from poste_restante.mailboxes import Mailboxes
from poste_restante.memory import PAGE_BYTES, InMemoryTable
from poste_restante.message import Header, Message
from poste_restante.position import TABLE_RECORD_KEY, LogId, Position
from poste_restante.table import TableRecord

__all__ = ["InMemoryMailboxes", "InMemoryTable"]

#: Where the clock of a new `InMemoryMailboxes` stands.
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class InMemoryMailboxes(Mailboxes):
    """`Mailboxes`, with a hand on the other side: deliveries, the clock, and failures.

    topic: what the ids of plain messages begin with. page_bytes: what one Query takes at most.
    """

    def __init__(
        self,
        *,
        topic: str = "undelivered-messages",
        receipt_keys: Sequence[str | bytes] = (),
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        self.memory = InMemoryTable(page_bytes=page_bytes)
        self.now = BEGINNING
        self._topic = topic
        self._next: dict[LogId, int] = {}
        self._failures: list[tuple[str | None, Exception]] = []
        self.memory.before = self._fail
        record = TableRecord(table_id=uuid.uuid4().hex, topic=topic, partitions=1, epoch=1)
        item = record.encode()
        self.memory.items[item["user_id"]["S"], item["position"]["S"]] = item
        super().__init__(self.memory, receipt_keys=receipt_keys, clock=self._seconds)

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
    ) -> Message:
        """A message, as the worker would put it into the mailbox: at the log's next offset.

        Returns it as it is stored: `expires_at` in whole milliseconds, `time` in microseconds.
        Raises ValueError for a user id that no mailbox can have, and for a message that does not
        fit an item: the worker makes dead letters of their records.
        """
        log = LogId(epoch, partition)
        offset = self._next.get(log, 0)
        position = Position(epoch, partition, offset)
        message = Message(
            user_id=user_id, id=id or position.id(self._topic), source=source, type=type,
            time=time or self.now, content_type=content_type, body=body, headers=tuple(headers),
            expires_at=expires_at, position=position,
        )  # fmt: skip
        if item_bytes_max(user_id, message_bytes_max(message)) > ITEM_BYTES_MAX:
            raise ValueError("the message does not fit an item")
        item = encode_bundle([message], self._topic)
        self._next[log] = offset + 1
        self.memory.items[item["user_id"]["S"], item["position"]["S"]] = item
        (stored,) = decode_bundle(item, user_id, self._topic)
        return stored

    def _seconds(self) -> float:
        return self.now.timestamp()

    def advance(self, seconds: float) -> None:
        """Move the clock, by which messages expire."""
        self.now += timedelta(seconds=seconds)

    def fail_next(self, error: Exception, *, operation: str | None = None, calls: int = 1) -> None:
        """The next calls of the store raise: of any operation, or of one, by its AWS name.

        A look at the table record, which comes beside a fetch now and then, is none of them.
        For example `fail_next(StoreUnavailable("away"), operation="Query", calls=2)`.
        """
        self._failures += [(operation, error)] * calls

    def _fail(self, operation: str, key: str) -> None:
        if key == TABLE_RECORD_KEY:
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
        """Empty mailboxes, for one test."""
        return InMemoryMailboxes()
