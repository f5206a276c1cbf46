"""The worker's DynamoDB client: one attempt a call, without waits."""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, Protocol, TypeVar

import aioboto3
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError

from poste_restante.credentials import Credentials
from poste_restante.signed_client import SignedClient
from poste_restante.wire import require_endpoint
from worker.dynamodb.errors import short
from worker.dynamodb.puts import EncodedPut, PutResult, PutsItems, body_of, result_of
from worker.errors import OperatorError

Answer = dict[str, Any]


class Client(PutsItems, Protocol):
    """What the worker and the commands call of DynamoDB. The keyword arguments and the answers of
    all calls but `put` are those of aiobotocore's client. So are the errors, and CredentialsError.
    """

    async def start(self) -> None:
        """Open the client; connects to a source of credentials, and not to DynamoDB.

        Raises CredentialsError, and OperatorError for a malformed region or endpoint.
        """
        ...

    async def stop(self) -> None:
        """Close the connections."""
        ...

    async def get_item(self, **arguments: Any) -> Answer: ...
    async def put_item(self, **arguments: Any) -> Answer: ...
    async def update_item(self, **arguments: Any) -> Answer: ...
    async def query(self, **arguments: Any) -> Answer: ...
    async def batch_write_item(self, **arguments: Any) -> Answer: ...
    async def create_table(self, **arguments: Any) -> Answer: ...
    async def describe_table(self, **arguments: Any) -> Answer: ...
    async def describe_time_to_live(self, **arguments: Any) -> Answer: ...
    async def update_time_to_live(self, **arguments: Any) -> Answer: ...


class CallObserver(Protocol):
    """Learns of every attempt of a call that ends, unless it was cancelled. Answers at once."""

    def attempted(
        self, operation: str, seconds: float, outcome: Exception | PutResult | Answer
    ) -> None:
        """Note one attempt. operation: by its AWS name. outcome: what it raised or returned; the
        result of a BatchWriteItem has its write units."""
        ...


#: What an attempt returns.
R = TypeVar("R", PutResult, Answer)


class _Opened(NamedTuple):
    """sdk: aiobotocore's client. signed: the signed client over its connections."""

    sdk: Any
    signed: SignedClient
    credentials: Credentials


class DynamoDBClient:
    """The Client of the address, region and credentials in the AWS SDK's variables and files.

    `put` and `query` go through the signed client, all other calls through aiobotocore's. Every
    call asks for credentials first, so that a failure to get them is a CredentialsError and not an
    error of DynamoDB. `start` comes before the first call, `stop` after the last. observer: learns
    of every attempt; without one, only a counted put asks for its write units.
    """

    def __init__(self, config: AioConfig, observer: CallObserver | None = None) -> None:
        self._config = config
        self._observer = observer
        self._stack = AsyncExitStack()
        self._opened: _Opened | None = None

    async def start(self) -> None:
        try:
            session = aioboto3.Session()
            credentials = Credentials(session)
            await credentials.get_frozen_credentials()  # the SDK keeps what it finds, also none
            opening = session.client("dynamodb", config=self._config)
            sdk = await self._stack.enter_async_context(opening)
            require_endpoint(sdk)
        except (BotoCoreError, ValueError) as error:  # ValueError: a malformed endpoint
            raise OperatorError(
                f"cannot use DynamoDB: {short(error)}; check the AWS SDK's variables and files"
                " (AWS_PROFILE, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_DYNAMODB)"
            ) from error
        self._opened = _Opened(sdk, SignedClient(sdk, credentials), credentials)

    async def stop(self) -> None:
        await self._stack.aclose()

    async def put(
        self, table: str, puts: Sequence[EncodedPut], *, count_units: bool = False
    ) -> PutResult:
        body = body_of(table, puts, count_units=count_units or self._observer is not None)

        async def attempt() -> PutResult:
            answer = await self._required().signed.send("BatchWriteItem", body)
            return result_of(answer, table, puts)

        return await self._observed("BatchWriteItem", attempt)

    async def get_item(self, **arguments: Any) -> Answer:
        return await self._call("GetItem", lambda sdk: sdk.get_item(**arguments))

    async def put_item(self, **arguments: Any) -> Answer:
        return await self._call("PutItem", lambda sdk: sdk.put_item(**arguments))

    async def update_item(self, **arguments: Any) -> Answer:
        return await self._call("UpdateItem", lambda sdk: sdk.update_item(**arguments))

    async def query(self, **arguments: Any) -> Answer:
        return await self._observed("Query", lambda: self._required().signed.query(**arguments))

    async def batch_write_item(self, **arguments: Any) -> Answer:
        return await self._call("BatchWriteItem", lambda sdk: sdk.batch_write_item(**arguments))

    async def create_table(self, **arguments: Any) -> Answer:
        return await self._call("CreateTable", lambda sdk: sdk.create_table(**arguments))

    async def describe_table(self, **arguments: Any) -> Answer:
        return await self._call("DescribeTable", lambda sdk: sdk.describe_table(**arguments))

    async def describe_time_to_live(self, **arguments: Any) -> Answer:
        return await self._call(
            "DescribeTimeToLive", lambda sdk: sdk.describe_time_to_live(**arguments)
        )

    async def update_time_to_live(self, **arguments: Any) -> Answer:
        return await self._call(
            "UpdateTimeToLive", lambda sdk: sdk.update_time_to_live(**arguments)
        )

    async def _call(self, operation: str, call: Callable[[Any], Awaitable[Answer]]) -> Answer:
        """Return the answer of a call of aiobotocore's client. Raises CredentialsError too."""

        async def attempt() -> Answer:
            opened = self._required()
            await opened.credentials.get_frozen_credentials()
            return await call(opened.sdk)

        return await self._observed(operation, attempt)

    async def _observed(self, operation: str, attempt: Callable[[], Awaitable[R]]) -> R:
        """Await an attempt, report its outcome to the observer, and return its result."""
        if self._observer is None:
            return await attempt()
        begin_s = time.perf_counter()
        try:
            outcome = await attempt()
        except Exception as error:
            self._observer.attempted(operation, time.perf_counter() - begin_s, error)
            raise
        self._observer.attempted(operation, time.perf_counter() - begin_s, outcome)
        return outcome

    def _required(self) -> _Opened:
        if self._opened is None:
            raise RuntimeError("the client is called before its start")
        return self._opened
