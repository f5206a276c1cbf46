"""What several of the contract suites ask for."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import Address
from tests.contract.faulty import Faulty, faulty_table


@pytest.fixture
async def faulty(
    dynamodb: Address, table_name: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Faulty]:
    """A table on DynamoDB Local, behind the faulty endpoint."""
    async with faulty_table(dynamodb.endpoint, table_name, monkeypatch) as faulty:
        yield faulty
