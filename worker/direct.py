"""BatchWriteItem on an aiobotocore client, with a body that is JSON already.

By `SignedCalls`, without what the client does around each call. Retries are the Store's own in any
case. What that saves stands in benchmarks/README.md.
"""

from collections.abc import Mapping
from typing import Any

from poste_restante.direct import SignedCalls
from worker.wire import PreparedWrite


class DirectClient:
    """A client whose prepared calls go directly; every other one as before.

    client: aiobotocore's. credentials: of its session; None: there are none, which a call raises.
    """

    def __init__(self, client: Any, credentials: Any) -> None:
        self._client = client
        self._calls = SignedCalls(client, credentials)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

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
