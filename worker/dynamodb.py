"""The store as the worker calls it: what its errors mean, how it is waited for.

Errors are classified here, once. A store that throttles, times out, breaks off, answers with a
fault of its own or with what is no answer is waited for, without end and saying so; that is
back-pressure, up to Kafka. What is left is refused for good:

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
from contextlib import ExitStack, asynccontextmanager
from typing import Any, Self

import aioboto3
import aiohttp
import botocore
from aiobotocore.config import AioConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    CredentialRetrievalError,
    HTTPClientError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)

from poste_restante.faults import (
    NO_ANSWER,
    UNREACHABLE,
    code_of,
    is_failing,
    is_nameless,
    is_throttled,
    status_of,
    text_of,
)
from poste_restante.item import Item
from worker.backoff import Waiters, backoff_delays
from worker.direct import DirectClient
from worker.errors import Bug, ConditionFailed, ItemRefused, OperatorError
from worker.gathering import GATHER_S, GatheringClient
from worker.logs import event

logger = logging.getLogger(__name__)

#: Calls in flight of one worker: DynamoDB Local and one event loop gain nothing from more.
CALLS_IN_FLIGHT_MAX = 16
#: Seconds to connect, and to wait for an answer; DynamoDB's are single-digit milliseconds, a
#: call of CALL_BYTES_MAX takes longer on a thin line.
TIMEOUT_S = 5.0
#: Connections: twice the calls in flight, so that a connection that is being closed is no limit.
_POOL_PER_CALL = 2
#: Seconds between two log lines about a store that is waited for.
_LOG_EVERY_S = 10.0
#: What AWS's logs call us.
_USER_AGENT = f"poste-restante botocore/{botocore.__version__}"
#: Failures of one call that may as well be a fault of ours, until they are taken for that and
#: raised: about 40 s.
_STRANGE_MAX = 20

#: A ValidationException that is about the table's schema, by its text: there is no other mark.
_ABOUT_SCHEMA = ("does not match the schema", "type mismatch for key", "missing the key",
                 "type mismatch for index", "unknown attributename in the key",
                 # as DynamoDB Local words it
                 "conditions on the keys", "required keys was not given")  # fmt: skip
#: One that is about the call and not about an item of it.
_ABOUT_CALL = ("too many items", "contains duplicates", "request size", "requestitems",
               "expression", "member must", "tablename")  # fmt: skip

Sleep = Callable[[float], Awaitable[None]]


def classify(error: ClientError, operation: str) -> str:
    """Why to wait, for an error that passes. Raises what else it means."""
    code, text = code_of(error), text_of(error)
    if is_throttled(error):
        return f"throttled ({code})"
    if is_failing(error):
        return f"it fails ({code}, HTTP {status_of(error)})"
    if is_nameless(error):
        return "its answer is none (a refusal without a name)"
    if code == "ConditionalCheckFailedException":
        raise ConditionFailed(text) from error
    if code == "ValidationException":
        raise _validation(text, operation) from error
    if code == "ResourceNotFoundException":
        raise OperatorError(
            f"the table does not exist (DynamoDB: {text}): check dynamodb.table, the region and"
            " the endpoint, or run `poste init`"
        ) from error
    if code in {"SerializationException", "413"}:
        raise Bug(f"DynamoDB cannot read our {operation}: {code}: {text}") from error
    raise OperatorError(
        f"DynamoDB refuses {operation}: {code}: {text}; check the credentials, their permissions"
        " and the endpoint"
    ) from error


def _validation(text: str, operation: str) -> Exception:
    lower = text.lower()
    if any(mark in lower for mark in _ABOUT_SCHEMA):
        return OperatorError(
            f"the table has another key schema than ours (DynamoDB: {text}): name another table"
            " in dynamodb.table, or let `poste init` make it"
        )
    if any(mark in lower for mark in _ABOUT_CALL):
        return Bug(f"DynamoDB finds our {operation} wrong: {text}")
    return ItemRefused(text)


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
    `time.monotonic`.
    """

    def __init__(
        self,
        client: Any,
        *,
        calls_in_flight_max: int = CALLS_IN_FLIGHT_MAX,
        waiters: Waiters | None = None,
        sleep: Sleep = asyncio.sleep,
        random: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._in_flight = asyncio.Semaphore(calls_in_flight_max)
        self.waiters = waiters or Waiters()
        self.sleep = sleep
        self.random = random
        self.clock = clock
        self._said_at_s: float | None = None

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
        strange = 0
        while True:
            try:
                async with self._in_flight:  # not held while backing off: others may be served
                    answer: dict[str, Any] = await getattr(self._client, operation)(**arguments)
                if not any_of or not answer.keys().isdisjoint(any_of):
                    return answer
                why = "its answer is none"
                strange += 1
                if strange > _STRANGE_MAX:
                    raise OperatorError(
                        f"DynamoDB answers {operation} without {' or '.join(any_of)}: is it"
                        " DynamoDB, and is the endpoint right?"
                    )
            except ClientError as error:
                why = classify(error, operation)
                _let_go(error)
                strange += is_nameless(error)
                if strange > _STRANGE_MAX:
                    raise OperatorError(
                        f"DynamoDB refuses {operation} without saying why: is it DynamoDB, and is"
                        " the endpoint right?"
                    ) from error
            except _OPERATORS as error:
                raise OperatorError(f"cannot call DynamoDB: {error}") from error
            except (*UNREACHABLE, *NO_ANSWER) as error:
                why = f"unreachable: {_short(error)}"
                if _is_strange(error):
                    strange += 1
                    if strange > _STRANGE_MAX:
                        raise
                _let_go(error)
            await waiting.wait(why)

    def waiting(self, what: str) -> Waiting:
        """The waits of one caller, which begins with short ones. A context manager."""
        return Waiting(self, what)

    def say_waiting(self, what: str, why: str, for_s: float) -> None:
        """One log line, at most every `_LOG_EVERY_S`, however many callers wait."""
        now_s = self.clock()
        if self._said_at_s is None or now_s - self._said_at_s >= _LOG_EVERY_S:
            self._said_at_s = now_s
            logger.warning(
                "waiting for DynamoDB: %s for %.1f s: %s", what, for_s, why,
                extra=event("dynamodb_waiting", work=what, seconds=round(for_s, 1), reason=why),
            )  # fmt: skip


#: botocore's own errors that only the operator can mend.
_OPERATORS = (
    NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError,
    NoRegionError, InvalidRegionError, ProfileNotFound, ConfigNotFound, ConfigParseError,
)  # fmt: skip


def _is_strange(error: BaseException) -> bool:
    """Whether a fault of ours looks the same: it must not be waited for without end.

    What aiobotocore does not know comes as a bare HTTPClientError.
    """
    if isinstance(error, HTTPClientError) and type(error) is HTTPClientError:
        return not isinstance(error.kwargs.get("error"), (aiohttp.ClientError, OSError))
    return isinstance(error, NO_ANSWER)


def _let_go(error: BaseException | None) -> None:
    """Free what the frames of a failed attempt hold: the bytes of its call, up to a megabyte.

    Errors and frames refer to each other in circles, and the collector of those comes by rarely
    (`worker.app.GC_YOUNG_OBJECTS`): in an outage a worker grew by every attempt.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]  # one line of a log


@asynccontextmanager
async def open_store(
    *,
    calls_in_flight_max: int = CALLS_IN_FLIGHT_MAX,
    timeout_s: float = TIMEOUT_S,
    waiters: Waiters | None = None,
    gather_s: float = GATHER_S,
    kind: type[Store] = Store,
) -> AsyncIterator[Store]:
    """A Store of the address, region and credentials in the AWS SDK's variables and files.

    gather_s: that a small write call waits for others; 0: each goes by itself.
    Does not connect. Raises OperatorError where they are incomplete.
    """
    config = AioConfig(
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        max_pool_connections=_POOL_PER_CALL * calls_in_flight_max,
        retries={"total_max_attempts": 1},  # the waits are ours: botocore's would hide throttling
        parameter_validation=False,  # a third of a call's processor time; our shapes are fixed
        user_agent=_USER_AGENT,  # botocore's own is put together anew for every call
    )
    try:
        session = aioboto3.Session()
        client = session.client("dynamodb", config=config)
        opened = await client.__aenter__()
    except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no address
        raise OperatorError(
            f"cannot use DynamoDB: {error}; set AWS_DEFAULT_REGION and the like"
        ) from error
    try:
        direct = DirectClient(opened, await session.get_credentials())
        called = GatheringClient(direct, gather_s=gather_s) if gather_s else direct
        yield kind(called, calls_in_flight_max=calls_in_flight_max, waiters=waiters)
    finally:
        await client.__aexit__(None, None, None)
