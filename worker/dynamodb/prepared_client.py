"""BatchWriteItem on an aiobotocore client, with a body that is JSON already.

By `SignedCalls`, without what the client does around each call. Retries are the Store's own in any
case. What that saves stands in benchmarks/README.md.
"""

from collections.abc import Mapping
from typing import Any

from poste_restante.signed_client import SignedCalls
from worker.dynamodb.encoding import PreparedWrite


class DirectClient:
    """A client whose prepared calls go directly; every other one as before.

    client: aiobotocore's. credentials: of its session. Every call asks for them first, so that a
    failure to get them is a CredentialsError, and not an error of the store.
    """

    def __init__(self, client: Any, credentials: Any) -> None:
        self._client = client
        self._calls = SignedCalls(client, credentials)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name not in self._client.meta.method_to_api_mapping:
            return found

        async def call(**arguments: Any) -> Any:
            await self._calls.credentials.get_frozen_credentials()
            return await found(**arguments)

        return call

    async def batch_write_item(
        self,
        *,
        RequestItems: Mapping[str, Any],  # noqa: N803
        **consumed: str,
    ) -> Any:
        """As the client's. consumed: ReturnConsumedCapacity. Raises what the client raises."""
        if not isinstance(RequestItems, PreparedWrite):
            return await self._client.batch_write_item(RequestItems=RequestItems, **consumed)
        body = RequestItems.body(**consumed)
        return await self._calls.attempt("BatchWriteItem", body, parse=True)
