"""The worker's store over a client with aiobotocore's calls: a fake, or one that goes wrong."""

from collections.abc import Sequence
from typing import Any, TypeVar

from poste_restante.item import from_json
from worker.dynamodb.puts import EncodedPut, PutResult, result_of
from worker.dynamodb.retrying_store import RetryingStore

Answer = dict[str, Any]
S = TypeVar("S", bound=RetryingStore)


class StoreClient:
    """`worker.dynamodb.client.Client`, which hands every call on, `put` as a BatchWriteItem."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def start(self) -> None:
        """The client is open."""

    async def stop(self) -> None:
        """The client stays open."""

    async def put(
        self, table: str, puts: Sequence[EncodedPut], *, count_units: bool = False
    ) -> PutResult:
        units = {"ReturnConsumedCapacity": "TOTAL"} if count_units else {}
        requests = [from_json(put.json) for put in puts]
        answer = await self._client.batch_write_item(RequestItems={table: requests}, **units)
        return result_of(answer, table, puts)

    async def get_item(self, **arguments: Any) -> Answer:
        answer: Answer = await self._client.get_item(**arguments)
        return answer

    async def put_item(self, **arguments: Any) -> Answer:
        answer: Answer = await self._client.put_item(**arguments)
        return answer

    async def update_item(self, **arguments: Any) -> Answer:
        answer: Answer = await self._client.update_item(**arguments)
        return answer

    async def query(self, **arguments: Any) -> Answer:
        answer: Answer = await self._client.query(**arguments)
        return answer

    async def batch_write_item(self, **arguments: Any) -> Answer:
        answer: Answer = await self._client.batch_write_item(**arguments)
        return answer

    async def create_table(self, **arguments: Any) -> Answer:
        answer: Answer = await self._client.create_table(**arguments)
        return answer

    async def describe_table(self, **arguments: Any) -> Answer:
        answer: Answer = await self._client.describe_table(**arguments)
        return answer

    async def describe_time_to_live(self, **arguments: Any) -> Answer:
        answer: Answer = await self._client.describe_time_to_live(**arguments)
        return answer

    async def update_time_to_live(self, **arguments: Any) -> Answer:
        answer: Answer = await self._client.update_time_to_live(**arguments)
        return answer


def store_on(client: Any, **settings: Any) -> RetryingStore:
    """The worker's store over such a client."""
    return RetryingStore(StoreClient(client), **settings)


def kind_on(kind: type[S], client: Any, **settings: Any) -> S:
    """A store of another kind over such a client."""
    return kind(StoreClient(client), **settings)
