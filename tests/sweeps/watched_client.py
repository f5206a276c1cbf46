"""A DynamoDB client whose calls can be watched: they are methods of a class."""

from typing import Any


class WatchedClient:
    """The calls that Mailboxes makes, each a method that can be watched."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def query(self, **arguments: Any) -> Any:
        return await self._client.query(**arguments)

    async def update_item(self, **arguments: Any) -> Any:
        return await self._client.update_item(**arguments)

    async def batch_write_item(self, **arguments: Any) -> Any:
        return await self._client.batch_write_item(**arguments)
