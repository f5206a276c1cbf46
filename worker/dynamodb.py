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
from poste_restante.direct import require_endpoint
from poste_restante.faults import NO_ANSWER, UNREACHABLE
from poste_restante.item import Item
from worker.backoff import Waiters, backoff_delays
from worker.direct import DirectClient
from worker.dynamodb_faults import Limit, Wait, malformed, meaning, short
from worker.errors import OperatorError
from worker.gathering import GATHER_S, GatheringClient
from worker.logs import Seldom, event

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
_STRANGE_MAX = 20

Sleep = Callable[[float], Awaitable[None]]


class Waiting:
    """One caller's waits for a store that does not serve it now; one of its waiters from the
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
            self._counted.enter_context(self._store.waiters.one_more())
        self._store.say_waiting(self._what, why, now_s - self._since_s)
        await self._store.sleep(next(self._delays))


class Store:
    """A low-level DynamoDB client, with bounded concurrency and patience.

    client: anything with the operations as async methods; its `batch_write_item` is handed a
    PreparedWrite, for which a client of aiobotocore's must be a DirectClient. waiters: counts the
    callers that wait. sleep, random, clock: as `asyncio.sleep`, `random.random` and
    `time.monotonic`. refusals_max: refusals of one call that may pass, until one is raised.
    on_wait: told, in one line, why a call is made again.
    """

    refusals_max = REFUSALS_MAX

    def __init__(
        self,
        client: Any,
        *,
        calls_in_flight_max: int = CALLS_IN_FLIGHT_MAX,
        waiters: Waiters | None = None,
        on_wait: Callable[[str], object] = lambda _: None,
        sleep: Sleep = asyncio.sleep,
        random: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._in_flight = asyncio.Semaphore(calls_in_flight_max)
        self.waiters = waiters or Waiters()
        self._on_wait = on_wait
        self.sleep = sleep
        self.random = random
        self.clock = clock
        self._line = Seldom(clock)

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
        refusals = strange = 0
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
            strange += wait.limit is Limit.STRANGE
            if wait.last and (refusals >= self.refusals_max or strange > _STRANGE_MAX):
                raise wait.last from (None if wait.last is failed else failed)
            _let_go(failed)
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


def _let_go(error: BaseException | None) -> None:
    """Free what the frames of a failed attempt hold: the bytes of its call, up to a megabyte.

    Errors and frames refer to each other in circles, and the collector of those comes by rarely
    (`worker.app.GC_YOUNG_OBJECTS`): in an outage a worker grew by every attempt.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


@asynccontextmanager
async def open_store(
    *,
    calls_in_flight_max: int = CALLS_IN_FLIGHT_MAX,
    timeout_s: float = TIMEOUT_S,
    waiters: Waiters | None = None,
    on_wait: Callable[[str], object] = lambda _: None,
    gather_s: float = GATHER_S,
    kind: type[Store] = Store,
) -> AsyncIterator[Store]:
    """A Store of the address, region and credentials in the AWS SDK's variables and files.

    gather_s: that a small write call waits for others; 0: each goes by itself.
    Does not connect to DynamoDB; asks for credentials, and waits for those as a call does. Raises
    OperatorError where region, endpoint or credentials are incomplete.
    """
    config = AioConfig(
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        max_pool_connections=_POOL_PER_CALL * calls_in_flight_max,
        retries={"total_max_attempts": 1},  # the waits are ours: botocore's would hide throttling
        parameter_validation=False,  # a third of a call's processor time; our shapes are fixed
        user_agent=_USER_AGENT,  # botocore's own is put together anew for every call
    )
    async with AsyncExitStack() as stack:
        opener = kind(_Opener(config, stack), waiters=waiters, on_wait=on_wait)
        direct: Any = await opener.call("open")
        called = GatheringClient(direct, gather_s=gather_s) if gather_s else direct
        yield kind(
            called, calls_in_flight_max=calls_in_flight_max, waiters=waiters, on_wait=on_wait
        )


class _Opener:
    """The opening of a client, as a call: it needs credentials, which are waited for as there."""

    def __init__(self, config: AioConfig, stack: AsyncExitStack) -> None:
        self._config = config
        self._stack = stack

    async def open(self) -> DirectClient:
        """Raises CredentialsError, and OperatorError for a region or endpoint that is none."""
        try:
            session = aioboto3.Session()
            credentials = Credentials(session)
            await credentials.get_frozen_credentials()  # the client keeps what it finds, also none
            opening = session.client("dynamodb", config=self._config)
            client = await self._stack.enter_async_context(opening)
            require_endpoint(client)
            return DirectClient(client, credentials)
        except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no address
            raise OperatorError(
                f"cannot use DynamoDB: {short(error)}; check the AWS SDK's variables and files"
                " (AWS_PROFILE, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_DYNAMODB)"
            ) from error
