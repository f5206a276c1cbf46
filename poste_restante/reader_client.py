"""The reader's client: the signed client, or aiobotocore's public calls where that cannot work.

The signed client uses names of aiobotocore that are not public. If a gateway's version lacks or
changes one of them, its calls go through the public client. Mailboxes behave the same, but a call
takes more processor time.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import aiobotocore
from botocore.exceptions import BotoCoreError, ClientError

from poste_restante.credentials import Credentials, CredentialsError, CredentialsFault
from poste_restante.wire import attempt_s_max, attempts_max, backoff_s_max, require_intact

if TYPE_CHECKING:
    from poste_restante.signed_client import SignedClient

#: Maximum of the random seconds before another request to a source of credentials that failed.
BACKOFF_S = 1.0

logger = logging.getLogger(__name__)


class ReaderClient(Protocol):
    """The calls of a reader. They have the arguments, answers and errors of aiobotocore's client,
    and CredentialsError."""

    async def query(self, **arguments: Any) -> Any: ...
    async def update_item(self, **arguments: Any) -> Any: ...
    async def batch_write_item(self, **arguments: Any) -> Any: ...


async def reader_client(
    client: Any, credentials: Credentials, on_retry: Callable[[ClientError], None] | None = None
) -> ReaderClient:
    """Return the signed client over the connections of `client`, or a `PublicClient`. Does not
    connect.

    client: aiobotocore's. credentials: of its session. on_retry: as for `SignedClient`; the public
    calls do not report retries.
    """
    try:
        return await _try_signed_client(client, credentials, on_retry)
    except Exception as error:  # noqa: BLE001 - whatever another version raises
        logger.info(
            "aiobotocore %s is not as the signed client expects it (%s: %s): mailboxes are read"
            " through its public calls, which take more processor time",
            aiobotocore.__version__, type(error).__name__, error,
        )  # fmt: skip
        return PublicClient(client, credentials)


async def _try_signed_client(
    client: Any, credentials: Credentials, on_retry: Callable[[ClientError], None] | None
) -> "SignedClient":
    """Return the signed client. Raises any error if a name is missing or differs."""
    from poste_restante import signed_client

    signed = signed_client.SignedClient(client, credentials, on_retry)
    signed_client.require_names(client)
    try:
        url, region = await signed.resolve()
    except BotoCoreError:  # of the configuration: the first call of either client raises it
        return signed
    if not (url.startswith("http") and isinstance(region, str)):
        raise TypeError("_resolve_endpoint_ruleset returns something else")
    return signed


class PublicClient:
    """A reader's calls through aiobotocore's own methods, which also retry.

    client, credentials: as for `reader_client`. Calls have the limits of the signed client's. They
    get credentials first, which separates the errors. They end even if an answer drips, and a
    damaged answer is an error, which botocore ignores in the last attempt.
    """

    def __init__(self, client: Any, credentials: Credentials) -> None:
        self._client = client
        self._credentials = credentials
        self._attempts = attempts_max(client)
        backoffs_s = sum(backoff_s_max(attempt) for attempt in range(1, self._attempts))
        self.call_s_max = self._attempts * attempt_s_max(client) + backoffs_s
        client.meta.events.register(
            "after-call.dynamodb", _require_intact, unique_id="poste-restante-intact"
        )

    async def query(self, **arguments: Any) -> Any:
        return await self._call(self._client.query, arguments)

    async def update_item(self, **arguments: Any) -> Any:
        return await self._call(self._client.update_item, arguments)

    async def batch_write_item(self, **arguments: Any) -> Any:
        return await self._call(self._client.batch_write_item, arguments)

    async def _call(self, call: Callable[..., Awaitable[Any]], arguments: dict[str, Any]) -> Any:
        await self._require_credentials()
        async with asyncio.timeout(self.call_s_max):
            return await call(**arguments)

    async def _require_credentials(self) -> None:
        for _ in range(1, self._attempts):
            try:
                await self._credentials.get_frozen_credentials()
            except CredentialsError as error:
                if error.fault is CredentialsFault.CONFIGURATION:
                    raise
                await asyncio.sleep(random.uniform(0, BACKOFF_S))
            else:
                return
        await self._credentials.get_frozen_credentials()


async def _require_intact(http_response: Any, **_: object) -> None:
    """Handle botocore's event. Raises ChecksumError for a damaged answer."""
    require_intact(await http_response.content, http_response.headers)
