"""The store as the worker calls it: what its errors mean, how it is waited for.

Errors are classified here, once. A store that throttles, times out, breaks off, answers with a
fault of its own or with what is no answer is waited for, without end and saying so; that is
back-pressure, up to Kafka. A refused signature or certificate, and a source of credentials that
fails, are asked again `Store.refusals_max` times. What is left is refused for good:

    ConditionFailed    the condition of the call does not hold
    ItemRefused        an item of it is not accepted by any table
    OperatorError      access, credentials, region, the table or its schema
    Bug                the call itself is wrong: its size, its syntax, a repeated key
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any, Self

import aioboto3
import botocore
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError

from poste_restante.credentials import Credentials, CredentialsError
from poste_restante.item import Item
from poste_restante.retryable_errors import NO_ANSWER, UNREACHABLE
from poste_restante.signed_client import require_endpoint
from worker.backoff import WaitTracker, backoff_delays
from worker.dynamodb.coalescing import COALESCE_S, CoalescingClient
from worker.dynamodb.errors import Limit, Wait, malformed, meaning, short
from worker.dynamodb.prepared_client import DirectClient
from worker.errors import OperatorError
from worker.logging_config import Seldom, event

logger = logging.getLogger(__name__)

#: Calls in flight of one worker: DynamoDB Local and one event loop gain nothing from more.
CALLS_IN_FLIGHT_MAX = 16
#: Seconds to connect, and to wait for an answer; DynamoDB's are single-digit milliseconds, a
#: call of CALL_BYTES_MAX takes longer on a thin line.
TIMEOUT_S = 5.0
#: Connections: twice the calls in flight, so that a connection that is being closed is no limit.
_POOL_PER_CALL = 2
#: What AWS's logs call us.
_USER_AGENT = f"poste-restante botocore/{botocore.__version__}"
#: Refusals of one call that may pass, of its signature, its credentials or the store's certificate,
#: until they are taken for the operator's and raised: about 10 s.
REFUSALS_MAX = 10
#: Failures of one call that may as well be a fault of ours, until they are taken for that and
#: raised: about 40 s.
_UNEXPECTED_MAX = 20

Sleep = Callable[[float], Awaitable[None]]


class Waiting:
    """One caller's waits for a store that does not serve it now; counted by its tracker from the
    first one on, until the `with` block ends."""

    def __init__(self, store: "Store", what: str) -> None:
        self._store = store
        self._what = what
        self._delays = backoff_delays(store.random)
        self._since_s: float | None = None
        self._counted = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._counted.close()

    async def wait(self, why: str) -> None:
        """One wait, longer than the one before on average."""
        now_s = self._store.clock()
        if self._since_s is None:
            self._since_s = now_s
            self._counted.enter_context(self._store.wait_tracker.one_more())
        self._store.say_waiting(self._what, why, now_s - self._since_s)
        await self._store.sleep(next(self._delays))


class Store:
    """A low-level DynamoDB client, with bounded concurrency and patience.

    client: anything with the operations as async methods; its `batch_write_item` is handed a
    PreparedWrite, for which a client of aiobotocore's must be a DirectClient. wait_tracker: counts
    the callers that wait. sleep, random, clock: as `asyncio.sleep`, `random.random` and
    `time.monotonic`. refusals_max: refusals of one call that may pass, until one is raised.
    on_wait: told, in one line, why a call is made again.
    """

    refusals_max = REFUSALS_MAX

    def __init__(
        self,
        client: Any,
        *,
        calls_in_flight_max: int = CALLS_IN_FLIGHT_MAX,
        wait_tracker: WaitTracker | None = None,
        on_wait: Callable[[str], object] = lambda _: None,
        sleep: Sleep = asyncio.sleep,
        random: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._in_flight = asyncio.Semaphore(calls_in_flight_max)
        self.wait_tracker = wait_tracker or WaitTracker()
        self._on_wait = on_wait
        self.sleep = sleep
        self.random = random
        self.clock = clock
        self._line = Seldom(clock)

    async def start(self) -> None:
        """Open the client; does not connect to DynamoDB. Asks for credentials, and waits for those
        as a call does.

        Raises OperatorError where region, endpoint or credentials are incomplete.
        """
        await self.call("open")

    async def stop(self) -> None:
        """Close the client's connections."""
        await self._client.close()

    async def call(
        self, operation: str, *, any_of: Collection[str] = (), **arguments: Any
    ) -> dict[str, Any]:
        """The answer of one operation, however long it takes.

        any_of: members of which every answer has one; without, it is none (one that was cut off
        reads as one without members). An attempt whose outcome is not known is made again: the
        caller's calls must bear that.
        Raises ConditionFailed, ItemRefused, OperatorError and Bug as the module says.
        """
        with self.waiting(operation) as waiting:
            return await self._call(waiting, operation, any_of, arguments)

    async def get_item(self, table: str, key: Mapping[str, Any]) -> Item | None:
        """One item, strongly consistent. None: there is none."""
        answer = await self.call(
            "get_item", TableName=table, Key=key, ConsistentRead=True,
            # What is answered where there is no item has no other member.
            ReturnConsumedCapacity="TOTAL", any_of=("Item", "ConsumedCapacity"),
        )  # fmt: skip
        item: Item | None = answer.get("Item")
        return item

    async def _call(
        self,
        waiting: Waiting,
        operation: str,
        any_of: Collection[str],
        arguments: dict[str, Any],
    ) -> dict[str, Any]:
        refusals = unexpected = 0
        while True:
            try:
                async with self._in_flight:  # not held while backing off: others may be served
                    answer: dict[str, Any] = await getattr(self._client, operation)(**arguments)
                if not any_of or not answer.keys().isdisjoint(any_of):
                    return answer
                failed, wait = None, malformed(operation, any_of)
            except (
                CredentialsError,
                ClientError,
                *UNREACHABLE,
                BotoCoreError,
                *NO_ANSWER,
            ) as error:
                failed, wait = error, meaning(error, operation)
            refusals += wait.limit is Limit.REFUSALS
            unexpected += wait.limit is Limit.UNEXPECTED
            if wait.last and (refusals >= self.refusals_max or unexpected > _UNEXPECTED_MAX):
                raise wait.last from (None if wait.last is failed else failed)
            _release_traceback(failed)
            self.note(wait)
            await waiting.wait(wait.why)

    def note(self, wait: Wait) -> None:
        """A call is made again after this."""
        self._on_wait(wait.why)

    def waiting(self, what: str) -> Waiting:
        """The waits of one caller, which begins with short ones. A context manager."""
        return Waiting(self, what)

    def say_waiting(self, what: str, why: str, for_s: float) -> None:
        """One log line, at most twice a minute, however many callers wait."""
        if self._line.is_due():
            logger.warning(
                "waiting for DynamoDB: %s for %.1f s: %s", what, for_s, why,
                extra=event("dynamodb_waiting", work=what, seconds=round(for_s, 1), reason=why),
            )  # fmt: skip


def _release_traceback(error: BaseException | None) -> None:
    """Free what the frames of a failed attempt hold: the bytes of its call, up to a megabyte.

    Errors and frames refer to each other in circles, and the collector of those comes by rarely
    (`worker.app.GC_YOUNG_OBJECTS`): in an outage a worker grew by every attempt.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def new_store(
    *,
    calls_in_flight_max: int = CALLS_IN_FLIGHT_MAX,
    timeout_s: float = TIMEOUT_S,
    wait_tracker: WaitTracker | None = None,
    on_wait: Callable[[str], object] = lambda _: None,
    coalesce_s: float = COALESCE_S,
    kind: type[Store] = Store,
) -> Store:
    """A Store of the address, region and credentials in the AWS SDK's variables and files.

    `Store.start` before its first call, `Store.stop` after its last. coalesce_s: seconds that a
    small write call waits for others; 0: each goes by itself.
    """
    config = AioConfig(
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        max_pool_connections=_POOL_PER_CALL * calls_in_flight_max,
        retries={"total_max_attempts": 1},  # the waits are ours: botocore's would hide throttling
        parameter_validation=False,  # a third of a call's processor time; our shapes are fixed
        user_agent=_USER_AGENT,  # botocore's own is put together anew for every call
    )
    client: Any = SdkClient(config)
    return kind(
        CoalescingClient(client, coalesce_s=coalesce_s) if coalesce_s else client,
        calls_in_flight_max=calls_in_flight_max, wait_tracker=wait_tracker, on_wait=on_wait,
    )  # fmt: skip


@asynccontextmanager
async def open_store(**options: Any) -> AsyncIterator[Store]:
    """As `new_store`, started and stopped. Raises what `Store.start` raises."""
    store = new_store(**options)
    try:
        await store.start()
        yield store
    finally:
        await store.stop()


class SdkClient:
    """The SDK's client with prepared calls, opened by `open`: it has no calls before."""

    def __init__(self, config: AioConfig) -> None:
        self._config = config
        self._stack = AsyncExitStack()
        self._client: DirectClient | None = None

    async def open(self) -> None:
        """Raises CredentialsError, and OperatorError for a malformed region or endpoint."""
        try:
            session = aioboto3.Session()
            credentials = Credentials(session)
            await credentials.get_frozen_credentials()  # the client keeps what it finds, also none
            opening = session.client("dynamodb", config=self._config)
            client = await self._stack.enter_async_context(opening)
            require_endpoint(client)
        except (BotoCoreError, ValueError) as error:  # ValueError: a malformed endpoint
            raise OperatorError(
                f"cannot use DynamoDB: {short(error)}; check the AWS SDK's variables and files"
                " (AWS_PROFILE, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_DYNAMODB)"
            ) from error
        self._client = DirectClient(client, credentials)

    async def close(self) -> None:
        await self._stack.aclose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)
