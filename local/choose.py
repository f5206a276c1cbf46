"""Choose local Kafka and DynamoDB: given addresses, Docker, or JVM children."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol, Self

from local.docker import (
    DynamoDBInDocker,
    KafkaInDocker,
    docker_answers,
    why_no_images,
)
from local.java import (
    INSTALLED,
    Java,
    java_from_pypi,
    java_with_maven,
    why_no_java_from_pypi,
)
from local.jvm import DynamoDBLocal, Kafka
from local.tool import KafkaTool

#: The product's own names of the addresses.
KAFKA_ADDRESS = "POSTE_KAFKA__BOOTSTRAP_SERVERS"
DYNAMODB_ADDRESS = "AWS_ENDPOINT_URL_DYNAMODB"

#: The variable that forces one way, and its values.
FORCED = "SERVICES"
DOCKER, JVM, PYPI, GIVEN = "docker", "jvm", "pypi", "given"
_WAYS = ("", DOCKER, JVM, PYPI, GIVEN)
#: The ways that start services, with their descriptions.
_OURS = {
    DOCKER: "in Docker",
    JVM: "as JVM children, by this machine's Java and Maven",
    PYPI: "as JVM children, by a Java runtime from PyPI",
}
_NO_JAVA = "there is no Java 17 with Maven"

#: Credentials for DynamoDB Local, which requires only letters and digits.
LOCAL_AWS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    # Python's SDK does not read AWS_REGION, as others do.
    "AWS_DEFAULT_REGION": "us-east-1",
}


class ServicesMissingError(RuntimeError):
    """There are neither addresses, nor Docker, nor any Java; or the forced way is unavailable."""


class Service(Protocol):
    """A service of our own, for tests that disrupt it.

    start: returns when it answers; after kill: on the same port, with the same data (DynamoDB:
    none, it is in memory). kill: `kill -9`. pause, resume: suspend and continue the process. stop:
    end and remove it. tail: the last lines that it printed.
    """

    @property
    def alive(self) -> bool: ...
    def tail(self) -> str: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def stop(self) -> None: ...


class KafkaService(Service, Protocol):
    """A Kafka of our own. secured: the address for users, if there are some."""

    @property
    def bootstrap(self) -> str: ...
    @property
    def secured(self) -> str: ...
    @property
    def tool(self) -> KafkaTool: ...


class DynamoDBService(Service, Protocol):
    """A DynamoDB of our own."""

    @property
    def endpoint(self) -> str: ...


def forced_way(environ: Mapping[str, str]) -> str:
    """Return the way that SERVICES forces, or "". Raises ServicesMissingError for others."""
    forced = environ.get(FORCED, "")
    if forced not in _WAYS:
        raise ServicesMissingError(
            f"{FORCED}={forced!r} must be {DOCKER}, {JVM}, {PYPI} or {GIVEN}"
        )
    return forced


def given_addresses(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the given addresses by name, or {} if another way is forced.

    Raises ServicesMissingError if `SERVICES=given` and one of them is missing.
    """
    forced = forced_way(environ)
    if forced in _OURS:
        return {}
    names = (KAFKA_ADDRESS, DYNAMODB_ADDRESS)
    given = {name: environ[name] for name in names if environ.get(name)}
    if forced == GIVEN and len(given) < len(names):
        missing = " and ".join(name for name in names if name not in given)
        raise ServicesMissingError(f"{FORCED}={GIVEN}, but no address in {missing}")
    return given


def choose_way(
    forced: str = "",
    before: Sequence[str] = (),
    *,
    docker: Callable[[], bool] = docker_answers,
    images: Callable[[], str] = why_no_images,
    jvm: Callable[[], bool] = java_with_maven,
    pypi: Callable[[], str] = why_no_java_from_pypi,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> str:
    """Return "docker", "jvm" or "pypi". Raises ServicesMissingError, in one line, without any.

    forced: one of the three. Others leave the choice free, because tests never disrupt given
    services. before: why no address is used. images, pypi: return why the images, or the packages
    with a Java runtime, are unavailable, or "". say: gets one line with the choice and the reasons
    against earlier ways.
    """

    def why_no_docker() -> str:
        return images() if docker() else "no Docker daemon answers"

    ways = {DOCKER: why_no_docker, JVM: lambda: "" if jvm() else _NO_JAVA, PYPI: pypi}
    if forced in ways:
        if reason := ways[forced]():
            raise ServicesMissingError(f"{FORCED}={forced}, but {reason}")
        say(f"Kafka and DynamoDB run {_OURS[forced]}: {FORCED}={forced}")
        return forced
    reasons = list(before)
    for way, why_not in ways.items():
        if not (reason := why_not()):
            because = f": {', '.join(reasons)}" if reasons else ""
            say(f"Kafka and DynamoDB run {_OURS[way]}{because}")
            return way
        reasons.append(reason)
    raise ServicesMissingError(
        f"no Kafka and DynamoDB: {', '.join(reasons)}; start a Docker daemon, install Java 17 with"
        f" Maven, or give addresses in {KAFKA_ADDRESS} and {DYNAMODB_ADDRESS}"
    )


#: One choice per process. A failure is not cached.
_choose_way_once = cache(choose_way)


def way() -> str:
    """Return the way of this process: "docker", "jvm" or "pypi". Raises ServicesMissingError."""
    given = any(map(os.environ.get, (KAFKA_ADDRESS, DYNAMODB_ADDRESS)))
    return _choose_way_once(forced_way(os.environ), () if given else ("no address is given",))


def java() -> Java:
    """Return the Java of this process, which some tests need even with Docker. Raises
    ServicesMissingError."""
    if way() == JVM or (way() == DOCKER and java_with_maven()):
        return INSTALLED
    if reason := why_no_java_from_pypi():
        raise ServicesMissingError(f"{_NO_JAVA}, {reason}")
    return java_from_pypi()


def new_kafka(
    directory: Path,
    *,
    properties: Mapping[str, str] = {},
    users: Mapping[str, str] = {},
) -> KafkaService:
    """Return a separate Kafka, not started.

    properties: further server properties. users: name -> password, for a second listener with an
    authorizer (`access`).
    """
    if way() == DOCKER:
        return KafkaInDocker(properties=properties, users=users)
    return Kafka(directory / "kafka", java=java(), properties=properties, users=users)


def new_dynamodb(directory: Path) -> DynamoDBService:
    """Return a separate DynamoDB, not started."""
    if way() == DOCKER:
        return DynamoDBInDocker()
    return DynamoDBLocal(directory / "dynamodb", java())


@dataclass
class Services:
    """Addresses of both services, and the services that were started. A context manager.

    kafka, dynamodb: ours; None for a given address. tool: Kafka's tools, for ours. credentials: of
    our DynamoDB.
    """

    directory: Path
    bootstrap: str = ""
    endpoint: str = ""
    kafka: KafkaService | None = None
    dynamodb: DynamoDBService | None = None
    tool: KafkaTool | None = None
    credentials: Mapping[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables with which a child finds both."""
        addresses = {KAFKA_ADDRESS: self.bootstrap, DYNAMODB_ADDRESS: self.endpoint}
        return {**addresses, **self.credentials}

    def start_kafka(self) -> None:
        """Start a Kafka."""
        self.kafka = new_kafka(self.directory)
        self.kafka.start()
        self.bootstrap, self.tool = self.kafka.bootstrap, self.kafka.tool

    def start_dynamodb(self) -> None:
        """Start a DynamoDB."""
        self.dynamodb = new_dynamodb(self.directory)
        self.dynamodb.start()
        self.endpoint, self.credentials = self.dynamodb.endpoint, LOCAL_AWS

    def stop(self) -> None:
        """Stop the started services."""
        with ExitStack() as end:  # each of them, even if others fail
            end.callback(shutil.rmtree, self.directory, ignore_errors=True)
            for service in (self.kafka, self.dynamodb):
                if service is not None:
                    end.callback(service.stop)


def start_services(environ: Mapping[str, str] = os.environ) -> Services:
    """Start the services without a given address. A failure leaves nothing behind."""
    given = given_addresses(environ)
    services = Services(Path(tempfile.mkdtemp(prefix="poste-restante-")))
    services.bootstrap = given.get(KAFKA_ADDRESS, "")
    services.endpoint = given.get(DYNAMODB_ADDRESS, "")
    try:
        if not services.bootstrap:
            services.start_kafka()
        if not services.endpoint:
            services.start_dynamodb()
    except BaseException:
        services.stop()
        raise
    return services
