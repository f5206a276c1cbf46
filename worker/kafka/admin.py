"""Topics, offsets and group members, for the commands and the worker's start."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaError,
    LeaderNotAvailableError,
    NoError,
    NotCoordinatorForGroupError,
    TopicAlreadyExistsError,
    for_code,
)

from worker.backoff import backoff_delays
from worker.errors import OperatorError
from worker.kafka import groups as kafka_groups
from worker.kafka.errors import (
    NO_ADDRESS,
    FailedConnectionLog,
    Trouble,
    connections_watched,
    fault_of,
)
from worker.kafka.options import client_options
from worker.logging_config import LogLimiter, event
from worker.settings import KafkaSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds that a command waits for a broker before it reports that none answers.
ANSWER_S_MAX = 10.0

_NOT_YET = (
    CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorForGroupError,
    LeaderNotAvailableError,
)  # fmt: skip


async def coordinated(ask: Callable[[], Awaitable[T]]) -> T:
    """Return an answer that a new cluster or topic gives only after a moment: about a group's
    coordinator or a topic's leader.

    Raises TimeoutError after ANSWER_S_MAX.
    """
    async with asyncio.timeout(ANSWER_S_MAX):
        for delay_s in backoff_delays(random.random, first_s=0.1):
            with suppress(*_NOT_YET):
                return await ask()
            await asyncio.sleep(delay_s)
    raise AssertionError("the delays have no end")


@dataclass(frozen=True, slots=True)
class TopicState:
    """partitions; replicas of each; the configuration by Kafka's own names.

    unread: why the configuration could not be read, and is empty here; empty: it was read.
    """

    partitions: int
    replicas: int
    config: Mapping[str, str]
    unread: str = ""


class Kafka:
    """Queries and deliberate moves, each answered within ANSWER_S_MAX or failing in one clear
    line."""

    def __init__(self, admin: AIOKafkaAdminClient, options: Mapping[str, Any]) -> None:
        self._admin = admin
        self._options = dict(options)

    async def topic(self, name: str) -> TopicState | None:
        """Return the state of a topic. None: it does not exist."""
        partitions = (await coordinated(lambda: _topics(self._admin))).get(name)
        if not partitions:
            return None
        resource = ConfigResource(ConfigResourceType.TOPIC, name)
        config: dict[str, str] = {}
        unread = ""
        for answer in await self._admin.describe_configs([resource]):
            for code, text, _, _, entries in answer.resources:
                error = for_code(code)
                if error is not NoError:
                    unread = f"{error.__name__}: {text}" if text else error.__name__
                config |= {entry[0]: entry[1] for entry in entries}
        replicas = min(len(partition["replicas"]) for partition in partitions)
        return TopicState(len(partitions), replicas, config, unread)

    async def create_topic(
        self, name: str, *, partitions: int, replication: int, config: Mapping[str, str]
    ) -> bool:
        """Create a topic. False: it existed already."""
        topic = NewTopic(
            name=name,
            num_partitions=partitions,
            replication_factor=replication,
            topic_configs=dict(config),
        )
        answer = await self._admin.create_topics([topic])
        for _, code, message in answer.topic_errors:
            if for_code(code) is TopicAlreadyExistsError:
                return False
            if code != 0:
                why = message or for_code(code).__name__
                raise OperatorError(f"the broker refuses to create the topic {name!r}: {why}")
        return True

    async def require_no_members(self, group: str) -> None:
        """See `groups.require_no_members`."""
        await coordinated(lambda: kafka_groups.require_no_members(self._admin, group))

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """See `groups.commit`."""
        await coordinated(lambda: kafka_groups.commit(self._admin, group, topic, offsets))


@asynccontextmanager
async def open_kafka_admin(kafka: KafkaSettings) -> AsyncIterator[Kafka]:
    """Open a Kafka for a command. Raises OperatorError, in one line, if no broker answers or it
    refuses."""
    options = client_options(kafka)
    admin = AIOKafkaAdminClient(**options)
    with connections_watched() as connections:
        try:
            await _started(admin)
            yield Kafka(admin, options)
        except TimeoutError as error:
            if not connections.failed:
                raise OperatorError(
                    f"Kafka at {kafka.bootstrap_servers} did not answer within {ANSWER_S_MAX:.0f}"
                    " s: try again when all of its brokers are up"
                ) from None
            raise fault_of(error, _named(admin, connections), kafka).operators() from None
        except (KafkaError, _NotStarted, *NO_ADDRESS) as error:
            raise fault_of(_cause(error), _named(admin, connections), kafka).operators() from None
        finally:
            await admin.close()


class _NotStarted(Exception):  # noqa: N818 - said as a state
    """The client did not start; the cause is the reason."""


async def _started(admin: AIOKafkaAdminClient) -> None:
    """Start the client. Raises TimeoutError, and _NotStarted for any other exception of the client:
    all of them are about an address, the network, or a broker."""
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            await admin.start()
    except TimeoutError:
        raise
    except Exception as error:
        raise _NotStarted from error


def _cause(error: Exception) -> BaseException:
    return error.__cause__ or error if isinstance(error, _NotStarted) else error


def _named(
    admin: AIOKafkaAdminClient, connections: FailedConnectionLog
) -> dict[str, BaseException]:
    """Return failed connections, those to a broker with the address that it advertises."""
    cluster = getattr(getattr(admin, "_client", None), "cluster", None)
    advertised = {} if cluster is None else {
        f"broker {broker.nodeId}": f"broker {broker.nodeId} at {broker.host}:{broker.port}"
        for broker in cluster.brokers()
    }  # fmt: skip
    return {advertised.get(where, where): error for where, error in connections.failed.items()}


async def wait_for_topics(
    kafka: KafkaSettings,
    topics: Iterable[str],
    on_wait: Callable[[str], object] = lambda _: None,
) -> int:
    """Wait for the topics at the worker's start, without end while the broker is unavailable.

    on_wait: receives one line with the reason of a wait. Returns the partition count of the first
    topic. Raises OperatorError for a missing topic, and for a refusal by the broker.
    """
    options, wanted, line = client_options(kafka), list(topics), LogLimiter()
    for delay_s in backoff_delays(random.random, first_s=0.5):
        admin = AIOKafkaAdminClient(**options)
        with connections_watched() as connections:
            try:
                await _started(admin)
                found = await _topics(admin)
            except (KafkaError, TimeoutError, _NotStarted, *NO_ADDRESS) as error:
                fault = fault_of(_cause(error), _named(admin, connections), kafka)
                if fault.trouble is Trouble.REFUSED:
                    raise fault.operators() from None
                on_wait(fault.text)
                if line.is_due():
                    logger.warning(
                        "waiting for Kafka at %s: %s", kafka.bootstrap_servers, fault.text,
                        extra=event(
                            "kafka_waiting", brokers=kafka.bootstrap_servers, reason=fault.text
                        ),
                    )  # fmt: skip
            else:
                if missing := [topic for topic in wanted if topic not in found]:
                    raise missing_topic(missing[0])
                return len(found[wanted[0]])
            finally:
                await admin.close()
        await asyncio.sleep(delay_s)
    raise AssertionError("the delays have no end")


async def _topics(admin: AIOKafkaAdminClient) -> dict[str, list[Any]]:
    """Return the partitions of every visible topic.

    It asks for all topics: a request for one by name creates it, if the broker creates topics
    automatically.
    """
    topics = {}
    for found in await admin.describe_topics(None):
        error = for_code(found["error_code"])
        if error is LeaderNotAvailableError:
            raise error(found["topic"])
        if error is NoError:
            topics[found["topic"]] = found["partitions"]
    return topics


def missing_topic(name: str) -> OperatorError:
    """Return the error for a missing topic."""
    return OperatorError(
        f"there is no topic {name!r} at the broker, or no permission to see it: run `poste init`,"
        " or name another one in kafka.topic or kafka.dead_letters_topic"
    )


class Starting(Protocol):
    """A client with connections of its own."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


async def start_with_topics(
    client: Starting,
    wait: Callable[[], Awaitable[object]],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Start a client once the topics are there: `wait` waits for them, as `wait_for_topics`.

    A broker that goes away between its answer and the client's connections is waited for again,
    without end, as before. Raises what `wait` raises.
    """
    for delay_s in backoff_delays(random.random, first_s=0.5):
        await wait()
        try:
            await client.start()
        except (KafkaError, OSError, TimeoutError, *NO_ADDRESS):
            await client.stop()
            await sleep(delay_s)
        else:
            return
