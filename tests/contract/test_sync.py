"""The synchronous module on DynamoDB Local, opened as a gateway does."""

import asyncio

import aioboto3
import pytest

from poste_restante import StoreUnavailable
from poste_restante.item import encode_bundle
from poste_restante.sync import open_mailboxes
from poste_restante.table import TABLE_SCHEMA
from tests.conftest import Address
from tests.mailbox_table import RECORD
from tests.records import TOPIC, message

pytestmark = pytest.mark.services


@pytest.fixture
def table(dynamodb: Address, table_name: str) -> str:
    """A table with one message for bob."""

    async def fill() -> None:
        async with aioboto3.Session().client("dynamodb", endpoint_url=dynamodb.endpoint) as client:
            await client.create_table(TableName=table_name, **TABLE_SCHEMA)
            for item in (RECORD.encode(), encode_bundle([message(1)], TOPIC)):
                await client.put_item(TableName=table_name, Item=item)

    asyncio.run(fill())
    return table_name


def test_a_synchronous_gateway_fetches_and_acknowledges(table: str) -> None:
    """And its devices are its own (G4, G12)."""
    with open_mailboxes(table=table) as mailboxes:
        assert mailboxes.add_device("bob", "phone", "oldest")
        (page,) = mailboxes.pages("bob")
        mailboxes.ack("bob", page.receipt)

        assert [m.body for m in page.messages] == [b"hello"]
        assert mailboxes.count("bob") == 0
        assert mailboxes.count("bob", device="phone") == 1


def test_a_call_behind_the_with_block_is_refused(table: str) -> None:
    """Its connections are closed (G8)."""
    with open_mailboxes(table=table) as mailboxes:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        mailboxes.fetch("bob")


def test_a_store_that_is_away_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the asynchronous module has it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable), open_mailboxes(attempts=1):
        pass
