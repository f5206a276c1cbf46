"""One table of the contract suites: on the fake, or on DynamoDB Local."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aioboto3
import pytest

from poste_restante.table import TABLE_SCHEMA

#: The two that a suite runs on: `@pytest.fixture(params=KINDS)`.
KINDS = ["fake", pytest.param("dynamodb", marks=pytest.mark.services)]
#: Besides, on the fake, the synchronous module in the place of the asynchronous one. On DynamoDB
#: Local, the public calls of the SDK's client in the place of the signed ones.
READER_KINDS = [*KINDS, "sync", pytest.param("public", marks=pytest.mark.services)]


@asynccontextmanager
async def open_table(request: pytest.FixtureRequest, table_name: str) -> AsyncIterator[Any]:
    """A low-level client with an empty table of our schema, for a fixture with KINDS."""
    if request.param in {"fake", "sync"}:
        from tests.fake_table import InMemoryTable

        yield InMemoryTable(table_name)
        return
    endpoint = request.getfixturevalue("dynamodb").endpoint
    session = aioboto3.Session()
    async with session.client("dynamodb", endpoint_url=endpoint) as client:
        await client.create_table(TableName=table_name, **TABLE_SCHEMA)
        yield client
        await client.delete_table(TableName=table_name)
