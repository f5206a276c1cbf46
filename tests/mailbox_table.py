"""A table with mailboxes in it, and a reader of it that can be made to fail, or to stand still."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import aioboto3
import pytest
from aiobotocore.client import AioBaseClient
from anyio.from_thread import BlockingPortal, start_blocking_portal

from poste_restante.credentials import Credentials
from poste_restante.item import Item, encode_bundle
from poste_restante.mailboxes import Mailboxes
from poste_restante.message import Message
from poste_restante.page import Page
from poste_restante.position import BundleKey, cursor_key, mailbox_key
from poste_restante.reader_client import PublicClient
from poste_restante.signed_client import SignedClient
from poste_restante.table import Cursor, TableRecord, decode_cursor
from tests.faults import Answer, Fault, FaultyClient
from tests.records import TOPIC, message
from tests.tables import open_table
from tests.through_sync import ThroughSync

RECORD = TableRecord(table_id="table-1", topic=TOPIC, partitions=12, epoch=1)
NEW_YEAR_S = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


async def pass_on(make: Callable[..., Awaitable[Answer]], arguments: Answer) -> Answer:
    """A fault that is none: all is well this time."""
    return await make(**arguments)


class ReaderClient(FaultyClient):
    """`faults` befall the next calls of any kind; those of `on` the next ones of one operation,
    or the next queries of one partition key."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.on: dict[str, list[Fault]] = {}

    async def _call(self, operation: str, arguments: Answer) -> Answer:
        make = getattr(self.client, operation)
        await asyncio.sleep(0)  # as every call over a network does
        values = arguments.get("ExpressionAttributeValues", {})
        queried = values.get(":user", {}).get("S", "")
        for faults in (self.on.get(operation, []), self.on.get(queried, []), self.faults):
            if faults:
                return await faults.pop(0)(make, arguments)
        answer: Answer = await make(**arguments)
        return answer

    def made(self) -> list[str]:
        """The operations called, in order."""
        return [operation for operation, _ in self.calls]


def as_opened(client: Any, *, public: bool = False) -> Any:
    """A client for a reader: of a real one, what `open_mailboxes` makes of it."""
    if not isinstance(client, AioBaseClient):
        return client
    kind = PublicClient if public else SignedClient
    return kind(client, Credentials(aioboto3.Session()))


class MailboxTable:
    """A table, its reader, and a clock. client: sees and disturbs the reader's calls alone.

    portal: where the readers are synchronous ones, the thread that they run in. public: the reader
    makes the public calls of a real client.
    """

    def __init__(
        self,
        client: Any,
        table: str,
        portal: BlockingPortal | None = None,
        *,
        public: bool = False,
    ) -> None:
        self._portal = portal
        self.table = table
        self.store = client
        self.client = ReaderClient(as_opened(client, public=public))
        self.now_s = NEW_YEAR_S
        self.mailboxes = self.reader()

    def reader(self, **settings: Any) -> Mailboxes:
        """Another reader: another gateway, or another device's."""
        reader = Mailboxes(self.client, table=self.table, clock=lambda: self.now_s, **settings)
        if self._portal is None:
            return reader
        return cast("Mailboxes", ThroughSync(self._portal, reader))

    async def put(self, *items: Item) -> None:
        """Items as they are, 25 at a time."""
        for begin in range(0, len(items), 25):
            requests = [{"PutRequest": {"Item": item}} for item in items[begin : begin + 25]]
            await self.store.batch_write_item(RequestItems={self.table: requests})

    async def deliver(self, *messages: Message) -> None:
        """One bundle."""
        await self.put(encode_bundle(messages, TOPIC))

    async def deliver_offsets(self, *offsets: int, **place: Any) -> None:
        """One bundle of plain messages."""
        await self.deliver(*(message(offset, **place) for offset in offsets))

    async def open(self, record: TableRecord = RECORD) -> None:
        """Write the table record."""
        await self.put(record.encode())

    async def receipt(self, user_id: str = "bob", **arguments: Any) -> str:
        """The receipt of a fetch."""
        receipt = (await self.mailboxes.fetch(user_id, **arguments)).receipt
        assert receipt is not None
        return receipt

    async def items(self, user_id: str = "bob") -> list[Item]:
        """What the table holds of a mailbox, cursor included."""
        return await self.items_of(mailbox_key(user_id))

    async def items_of(self, key: str) -> list[Item]:
        """What the table holds under a partition key."""
        found: list[Item] = []
        arguments = {
            "TableName": self.table,
            "ConsistentRead": True,
            "KeyConditionExpression": "user_id = :user",
            "ExpressionAttributeValues": {":user": {"S": key}},
        }
        while True:
            answer = await self.store.query(**arguments)
            found += answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return found
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def bundles(self, user_id: str = "bob") -> list[tuple[int, int]]:
        """First and last offset of each bundle in a mailbox, in key order."""
        keys = [item["position"]["S"].split(".") for item in await self.items(user_id)]
        return [(int(key[3]), int(key[2])) for key in keys if len(key) == 4]

    async def cursor(self, user_id: str = "bob", device: str | None = None) -> Cursor:
        """Up to where a user, or a device, has acknowledged."""
        for item in await self.items(user_id):
            if item["position"]["S"] == cursor_key(device):
                return decode_cursor(item)
        return {}

    async def unread(self, user_id: str = "bob") -> list[tuple[int, int]]:
        """The bundles of which the account has not acknowledged all."""
        cursor = await self.cursor(user_id)
        keys = [item["position"]["S"] for item in await self.items(user_id)]
        bundles = [BundleKey.decode(key) for key in keys if key.count(".") == 3]
        return [(b.first, b.last) for b in bundles if b.last > cursor.get(b.log, -1)]

    async def calls_of(self, work: Callable[[], Any]) -> list[str]:
        """The operations that some work calls, in order."""
        before = len(self.client.calls)
        await work()
        return self.client.made()[before:]


def offsets(page: Page) -> list[int]:
    """The offsets of a page's messages."""
    return [each.position.offset for each in page.messages]


@asynccontextmanager
async def open_admin_client(
    request: pytest.FixtureRequest, table_name: str
) -> AsyncIterator[MailboxTable]:
    """A post office with an empty table, for a fixture with READER_KINDS."""
    with ExitStack() as opened:
        portal = None
        if request.param == "sync":
            portal = opened.enter_context(start_blocking_portal())
        async with open_table(request, table_name) as client:
            admin = MailboxTable(client, table_name, portal, public=request.param == "public")
            await admin.open()
            yield admin
