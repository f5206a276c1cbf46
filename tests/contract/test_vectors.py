"""The test vectors of the format: our module and readers in other languages do what they say."""

import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import aioboto3
import pytest

from poste_restante.credentials import Credentials
from poste_restante.item import Item
from poste_restante.position import TABLE_RECORD_KEY
from poste_restante.signed_client import SignedClient
from poste_restante.table import TABLE_SCHEMA
from tests.conftest import Address
from tests.fault_proxy import FaultyEndpoint
from tests.reader_driver import driver, go, typescript
from tests.vector_cases import CASES, NOW, RECORD, Case
from tests.vector_play import VECTORS, Answer, OurReader, Reader, play, text, vector

NAMES = [case.name for case in CASES]


def read(name: str) -> Answer:
    found: Answer = json.loads((VECTORS / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize("case", CASES, ids=NAMES)
async def test_vectors_are_what_the_module_does(case: Case) -> None:
    """`python -m tests.vector_play` writes them again (G2, G12)."""
    path = VECTORS / f"{case.name}.json"

    assert path.read_text() == text(await vector(case))


def test_vectors_without_a_case_do_not_exist() -> None:
    """A file that nothing makes would be held to nothing."""
    assert sorted(path.stem for path in VECTORS.glob("*.json")) == sorted(NAMES)


class Table:
    """A table on DynamoDB Local, filled with the items of one vector after the other."""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name

    async def fill(self, items: Sequence[Item]) -> None:
        """These items, and no other but the table record: a reader that starts looks for it."""
        for old in (await self.client.scan(TableName=self.name))["Items"]:
            key = {name: old[name] for name in ("user_id", "position")}
            if key["user_id"]["S"] != TABLE_RECORD_KEY:
                await self.client.delete_item(TableName=self.name, Key=key)
        await self.put(items)

    async def put(self, items: Sequence[Item]) -> None:
        for item in items:
            await self.client.put_item(TableName=self.name, Item=_binary(item))


def _binary(item: Any) -> Any:
    """An item of a vector with bytes for its base64."""

    def value(found: dict[str, Any]) -> dict[str, Any]:
        ((kind, content),) = found.items()
        if kind == "B":
            return {"B": b64decode(content)}
        if kind == "L":
            return {"L": [value(each) for each in content]}
        if kind == "M":
            return {"M": _binary(content)}
        return found

    return {name: value(attribute) for name, attribute in item.items()}


async def _play(vector: Answer, table: Table, reader: Reader) -> None:
    """Each step's answer and calls are the vector's."""
    await table.fill(vector["items"])
    for number, step in enumerate(vector["steps"]):
        (answer,) = await play(reader, table.put, [step])
        reader.calls()
        expected = step.get("expect", {})
        if "calls" not in expected:
            answer.pop("calls", None)
        assert answer == expected, f"{vector['name']}, step {number}: {step}"


@pytest.fixture(params=[typescript, go], ids=["typescript", "go"])
def command(request: pytest.FixtureRequest) -> Sequence[str]:
    """A reader's command. Built here: a test's limit is not meant for what a build downloads."""
    build: Callable[[], Sequence[str]] = request.param
    return build()


@pytest.fixture
async def table(dynamodb: Address, table_name: str) -> AsyncIterator[Table]:
    async with aioboto3.Session().client("dynamodb", endpoint_url=dynamodb.endpoint) as client:
        await client.create_table(TableName=table_name, **TABLE_SCHEMA)
        yield Table(client, table_name)
        await client.delete_table(TableName=table_name)


@pytest.mark.services
async def test_the_module_does_what_the_vectors_say(table: Table) -> None:
    """On DynamoDB Local: the messages, and the calls (G2, G6, G12)."""
    session = aioboto3.Session()
    for name in NAMES:
        direct = SignedClient(table.client, Credentials(session))
        await _play(read(name), table, OurReader(direct, table.name))


@pytest.mark.services
async def test_a_reader_in_another_language_does_what_the_vectors_say(
    command: Sequence[str], dynamodb: Address, table: Table
) -> None:
    """On DynamoDB Local, through its own SDK: the messages, and the calls (G2, G6, G12)."""
    await table.fill([RECORD.encode()])
    with FaultyEndpoint(dynamodb.endpoint) as endpoint:
        async with driver(command, endpoint, table.name, int(NOW.timestamp() * 1000)) as theirs:
            for name in NAMES:
                await _play(read(name), table, theirs)
                await theirs.do({"do": "forget"})
