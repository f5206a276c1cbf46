"""DynamoDB as the worker calls it: which errors it waits out, and how.

A store that throttles, times out, breaks off, has a fault or sends a malformed response is waited
for without end, with a log line. That is back-pressure, up to Kafka. A refused signature or
certificate and a failing source of credentials are repeated `refusals_max` times. Other errors are
raised (`worker.dynamodb.errors` decides):

    ConditionFailed    the condition of the call does not hold
    ItemRefused        no table accepts an item of the call
    OperatorError      access, credentials, region, the table or its schema
    Bug                the call itself is wrong: its size, its syntax, a repeated key
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Any, Self, TypeVar

import botocore
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError

from poste_restante.credentials import CredentialsError
from poste_restante.item import Item
from poste_restante.retryable_errors import NO_ANSWER, UNREACHABLE
from poste_restante.store import DynamoDBMailboxStore
from worker.backoff import WaitTracker, backoff_delays
from worker.dynamodb.client import Answer, CallObserver, Client, DynamoDBClient
from worker.dynamodb.coalescing import COALESCE_S, CoalescingPuts
from worker.dynamodb.errors import CallRetry, Limit, MalformedAnswerError, meaning
from worker.dynamodb.puts import EncodedPut, PutResult, PutsItems
from worker.errors import Bug, ConditionFailed, ItemRefused, OperatorError
from worker.logging_config import LogLimiter, event

logger = logging.getLogger(__name__)

#: Calls in flight of one worker: DynamoDB Local and one event loop gain nothing from more.
CALLS_IN_FLIGHT_MAX = 16
#: Seconds to connect, and to wait for an answer; DynamoDB's are single-digit milliseconds, a
#: call of CALL_BYTES_MAX takes longer on a thin line.
TIMEOUT_S = 5.0
#: Connections for each call in flight: a connection that is being closed still counts.
_POOL_PER_CALL = 2
#: The name in AWS's logs.
_USER_AGENT = f"poste-restante botocore/{botocore.__version__}"
#: Refusals of one call that may pass, of its signature, its credentials or the store's certificate.
#: The last one, after about 10 s, is raised as the operator's error.
REFUSALS_MAX = 10
#: Failures of one call that may be a fault of our own. The next one, after about 40 s, is raised.
UNEXPECTED_MAX = 20

#: What an attempt raises that `errors.meaning` knows.
_FAILURES = (
    CredentialsError, MalformedAnswerError, ClientError, *UNREACHABLE, BotoCoreError, *NO_ANSWER,
)  # fmt: skip

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]


class Waiting:
    """One caller's waits for a store that does not serve it now. The store's tracker counts the
    caller from the first wait until the `with` block ends."""

    def __init__(self, store: "RetryingStore", what: str) -> None:
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
        """Wait once, on average longer than before."""
        now_s = self._store.clock()
        if self._since_s is None:
            self._since_s = now_s
            self._counted.enter_context(self._store.wait_tracker.count_wait())
        self._store.say_waiting(self._what, why, now_s - self._since_s)
        await self._store.sleep(next(self._delays))


class RetryingStore:
    """A DynamoDB client with bounded concurrency, which repeats what may pass.

    client: makes one attempt of a call. puts: the same for `put`; None: the client itself.
    wait_tracker: counts the waiting callers. sleep, random, clock: as `asyncio.sleep`,
    `random.random` and `time.monotonic`. on_wait: called with the reason, in one line, before a
    call is repeated.
    Every call raises as `repeat` does. Keyword arguments and answers are aiobotocore's.
    """

    #: Refusals of one call that may pass, until one is raised.
    refusals_max = REFUSALS_MAX

    def __init__(
        self,
        client: Client,
        *,
        puts: PutsItems | None = None,
        calls_in_flight_max: int = CALLS_IN_FLIGHT_MAX,
        wait_tracker: WaitTracker | None = None,
        on_wait: Callable[[str], object] = lambda _: None,
        sleep: Sleep = asyncio.sleep,
        random: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._puts = client if puts is None else puts
        self._in_flight = asyncio.Semaphore(calls_in_flight_max)
        self.wait_tracker = wait_tracker or WaitTracker()
        self._on_wait = on_wait
        self.sleep = sleep
        self.random = random
        self.clock = clock
        self._line = LogLimiter(clock)

    async def start(self) -> None:
        """Open the client; does not connect to DynamoDB. Asks for credentials, and waits for them
        as a call does.

        Raises OperatorError for an incomplete region, endpoint or credentials.
        """
        await self.repeat("open", self._client.start)

    async def stop(self) -> None:
        """Close the client's connections."""
        await self._client.stop()

    async def get_item(self, table: str, key: Mapping[str, Any]) -> Item | None:
        """Return one item, read with strong consistency, or None where there is none."""
        answer = await self._answer(
            "get_item",
            partial(
                self._client.get_item, TableName=table, Key=key, ConsistentRead=True,
                ReturnConsumedCapacity="TOTAL",
            ),
            # Without an item, an answer has no other member.
            any_of=("Item", "ConsumedCapacity"),
        )  # fmt: skip
        item: Item | None = answer.get("Item")
        return item

    async def put_item(self, **arguments: Any) -> Answer:
        return await self._answer("put_item", partial(self._client.put_item, **arguments))

    async def put_item_once(self, **arguments: Any) -> str:
        """Put an item once, outside the limit of concurrent calls. Return the reason of a failure,
        or "". Use it only for items that readers can do without."""
        try:
            await self._client.put_item(**arguments)
        except _FAILURES as error:
            try:
                return meaning(error, "put_item").why
            except (ConditionFailed, ItemRefused, OperatorError, Bug) as refusal:
                return str(refusal)
        return ""

    async def update_item(self, **arguments: Any) -> Answer:
        return await self._answer("update_item", partial(self._client.update_item, **arguments))

    async def query(self, **arguments: Any) -> Answer:
        call = partial(self._client.query, **arguments)
        return await self._answer("query", call, any_of=("Items",))

    async def batch_write_item(self, **arguments: Any) -> Answer:
        """Deletes, for commands. `put` is for bundles."""
        call = partial(self._client.batch_write_item, **arguments)
        return await self._answer("batch_write_item", call, any_of=("UnprocessedItems",))

    async def create_table(self, **arguments: Any) -> Answer:
        return await self._answer("create_table", partial(self._client.create_table, **arguments))

    async def describe_table(self, **arguments: Any) -> Answer:
        call = partial(self._client.describe_table, **arguments)
        return await self._answer("describe_table", call, any_of=("Table",))

    async def describe_time_to_live(self, **arguments: Any) -> Answer:
        call = partial(self._client.describe_time_to_live, **arguments)
        return await self._answer("describe_time_to_live", call, any_of=("TimeToLiveDescription",))

    async def update_time_to_live(self, **arguments: Any) -> Answer:
        call = partial(self._client.update_time_to_live, **arguments)
        return await self._answer("update_time_to_live", call)

    async def put(
        self, table: str, puts: Sequence[EncodedPut], *, count_units: bool = False
    ) -> PutResult:
        """Return the result of one BatchWriteItem that DynamoDB accepted, if only in part."""
        call = partial(self._puts.put, table, puts, count_units=count_units)
        return await self.repeat("batch_write_item", call)

    async def _answer(
        self,
        operation: str,
        call: Callable[[], Awaitable[Answer]],
        any_of: Collection[str] = (),
    ) -> Answer:
        """The answer of one operation.

        any_of: members of which every answer has one. An answer that was cut off has none.
        """

        async def attempt() -> Answer:
            answer = await call()
            if any_of and answer.keys().isdisjoint(any_of):
                raise MalformedAnswerError(any_of)
            return answer

        return await self.repeat(operation, attempt)

    async def repeat(self, operation: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Attempt a call until it succeeds, however long that takes; return its result.

        An attempt whose outcome is unknown, such as a lost answer, is made again. DynamoDB may have
        applied the first one, so pass only a call whose repetition does no harm.

        operation: the call's name in log lines and errors. Raises ConditionFailed, ItemRefused,
        OperatorError and Bug as the module says.
        """
        refusals = unexpected = 0
        with self.waiting(operation) as waiting:
            while True:
                try:
                    async with self._in_flight:  # not held in a wait, so that others are served
                        return await attempt()
                except _FAILURES as error:
                    failed, wait = error, meaning(error, operation)
                refusals += wait.limit is Limit.REFUSALS
                unexpected += wait.limit is Limit.UNEXPECTED
                if wait.last and (refusals >= self.refusals_max or unexpected > UNEXPECTED_MAX):
                    raise wait.last from (None if wait.last is failed else failed)
                _release_traceback(failed)
                self.note(wait)
                await waiting.wait(wait.why)

    def note(self, wait: CallRetry) -> None:
        """Note why a call is repeated."""
        self._on_wait(wait.why)

    def waiting(self, what: str) -> Waiting:
        """Return the waits of one caller, short ones first; a context manager."""
        return Waiting(self, what)

    def say_waiting(self, what: str, why: str, for_s: float) -> None:
        """Log one line, at most twice a minute, however many callers wait."""
        if self._line.is_due():
            logger.warning(
                "waiting for DynamoDB: %s for %.1f s: %s", what, for_s, why,
                extra=event("dynamodb_waiting", work=what, seconds=round(for_s, 1), reason=why),
            )  # fmt: skip


def _release_traceback(error: BaseException | None) -> None:
    """Free what the frames of a failed attempt hold: the bytes of its call, up to a megabyte.

    Errors and frames refer to each other in cycles, and the garbage collector runs rarely
    (`worker.app.GC_YOUNG_OBJECTS`): without this a worker grows by every attempt of an outage.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def client_config(calls_in_flight_max: int, timeout_s: float) -> AioConfig:
    """Return the SDK's configuration: one attempt a call, connections for all concurrent calls."""
    return AioConfig(
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        max_pool_connections=_POOL_PER_CALL * calls_in_flight_max,
        retries={"total_max_attempts": 1},  # the store repeats: botocore's would hide throttling
        parameter_validation=False,  # a third of a call's processor time; our shapes are fixed
        user_agent=_USER_AGENT,  # botocore composes its own anew for every call
    )


def new_store(
    *,
    calls_in_flight_max: int = CALLS_IN_FLIGHT_MAX,
    timeout_s: float = TIMEOUT_S,
    wait_tracker: WaitTracker | None = None,
    on_wait: Callable[[str], object] = lambda _: None,
    coalesce_s: float = COALESCE_S,
    observer: CallObserver | None = None,
    kind: type[RetryingStore] = RetryingStore,
) -> RetryingStore:
    """Return a store of the address, region and credentials in the AWS SDK's settings.

    `start` comes before its first call, `stop` after its last. coalesce_s: seconds that a small
    write waits for others; 0: each goes by itself. observer: learns of every attempt of a call.
    """
    client = DynamoDBClient(client_config(calls_in_flight_max, timeout_s), observer)
    return kind(
        client, puts=CoalescingPuts(client, coalesce_s=coalesce_s) if coalesce_s else client,
        calls_in_flight_max=calls_in_flight_max, wait_tracker=wait_tracker, on_wait=on_wait,
    )  # fmt: skip


def mailbox_store(store: RetryingStore, table: str) -> DynamoDBMailboxStore:
    """Return the reader's port to a table, whose calls wait as those of the store do."""
    return DynamoDBMailboxStore(store, table, calls_in_flight_max=CALLS_IN_FLIGHT_MAX)


@asynccontextmanager
async def open_store(**options: Any) -> AsyncIterator[RetryingStore]:
    """Start a store of `new_store`, and stop it at the end. Raises as `RetryingStore.start`."""
    store = new_store(**options)
    try:
        await store.start()
        yield store
    finally:
        await store.stop()
