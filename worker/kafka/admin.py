"""Topics, offsets and group members, as the commands and the worker's start ask for them."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

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
from worker.kafka.errors import NO_ADDRESS, Connections, Trouble, connections_watched, fault_of
from worker.kafka.options import client_options
from worker.logging_config import Seldom, event
from worker.settings import KafkaSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds that a command waits for a broker before it says that there is none.
ANSWER_S_MAX = 10.0

_NOT_YET = (
    CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorForGroupError,
    LeaderNotAvailableError,
)  # fmt: skip


async def coordinated(ask: Callable[[], Awaitable[T]]) -> T:
    """An answer that a new cluster or topic has only after a moment: of a group's coordinator,
    of a topic's leader.

    Raises TimeoutError past ANSWER_S_MAX.
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
    """Questions and deliberate moves, each answered within ANSWER_S_MAX or one clear line."""

    def __init__(self, admin: AIOKafkaAdminClient, options: Mapping[str, Any]) -> None:
        self._admin = admin
        self._options = dict(options)

    async def topic(self, name: str) -> TopicState | None:
        """None: there is no such topic."""
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
        """False: it was there already."""
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
        """As `kafka_groups.require_no_members`."""
        await coordinated(lambda: kafka_groups.require_no_members(self._admin, group))

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """As `kafka_groups.commit`."""
        await coordinated(lambda: kafka_groups.commit(self._admin, group, topic, offsets))


@asynccontextmanager
async def open_kafka_admin(kafka: KafkaSettings) -> AsyncIterator[Kafka]:
    """For commands: raises OperatorError, in one line, when no broker answers or it refuses."""
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
    """The client did not start; why is its cause."""


async def _started(admin: AIOKafkaAdminClient) -> None:
    """Raises TimeoutError, and _NotStarted for whatever else the client raises: all of it is about
    an address, the network, or a broker."""
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            await admin.start()
    except TimeoutError:
        raise
    except Exception as error:
        raise _NotStarted from error


def _cause(error: Exception) -> BaseException:
    return error.__cause__ or error if isinstance(error, _NotStarted) else error


def _named(admin: AIOKafkaAdminClient, connections: Connections) -> dict[str, BaseException]:
    """Failed connections, those to a broker with the address that it advertises."""
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
    """For the worker's start: waits for a broker that is away, without end and saying so.

    on_wait: told, in one line, why it is waited for.
    Returns the partition count of the first topic. Raises OperatorError for a missing topic, and
    for what the broker refuses.
    """
    options, wanted, line = client_options(kafka), list(topics), Seldom()
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
    """The partitions of every topic that we may see.

    All of them: a question for one by name makes it, where the broker creates topics by itself.
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
    """The error for a topic that is not there."""
    return OperatorError(
        f"there is no topic {name!r} at the broker, or no permission to see it: run `poste init`,"
        " or name another one in kafka.topic or kafka.dead_letters_topic"
    )
