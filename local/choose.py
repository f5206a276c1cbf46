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

#: The names under which the product itself reads the addresses.
KAFKA_ADDRESS = "POSTE_KAFKA__BOOTSTRAP_SERVERS"
DYNAMODB_ADDRESS = "AWS_ENDPOINT_URL_DYNAMODB"

#: The variable that forces one way, and its values.
FORCED = "SERVICES"
DOCKER, JVM, PYPI, GIVEN = "docker", "jvm", "pypi", "given"
_WAYS = ("", DOCKER, JVM, PYPI, GIVEN)
#: Of these the program starts the services itself: what each of them is, for people.
_OURS = {
    DOCKER: "in Docker",
    JVM: "as JVM children, by this machine's Java and Maven",
    PYPI: "as JVM children, by a Java runtime from PyPI",
}
_NO_JAVA = "there is no Java 17 with Maven"

#: What DynamoDB Local takes for credentials; it asks for letters and digits, and no more.
LOCAL_AWS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    # AWS_REGION, which other SDKs read, is not read by Python's.
    "AWS_DEFAULT_REGION": "us-east-1",
}


class ServicesMissing(RuntimeError):  # noqa: N818 - said as a state
    """Neither addresses, nor Docker, nor any Java; or not the way that is forced."""


class Service(Protocol):
    """A service of our own, that may be mistreated.

    start: returns when it answers; again after kill: same port, same data (DynamoDB: in memory,
    so none). kill: `kill -9`. pause, resume: it hangs, and goes on. stop: ends and removes it.
    """

    @property
    def alive(self) -> bool: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def stop(self) -> None: ...


class KafkaService(Service, Protocol):
    """A Kafka of our own. secured: the address for users, where there are some."""

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
    """What SERVICES forces: one of the ways, or "". Raises ServicesMissing for others."""
    forced = environ.get(FORCED, "")
    if forced not in _WAYS:
        raise ServicesMissing(f"{FORCED}={forced!r} must be {DOCKER}, {JVM}, {PYPI} or {GIVEN}")
    return forced


def given_addresses(environ: Mapping[str, str]) -> dict[str, str]:
    """The addresses to use as they are, by name: all that are given, unless another way is forced.

    Raises ServicesMissing where `SERVICES=given` and one of them is missing.
    """
    forced = forced_way(environ)
    if forced in _OURS:
        return {}
    names = (KAFKA_ADDRESS, DYNAMODB_ADDRESS)
    given = {name: environ[name] for name in names if environ.get(name)}
    if forced == GIVEN and len(given) < len(names):
        missing = " and ".join(name for name in names if name not in given)
        raise ServicesMissing(f"{FORCED}={GIVEN}, but no address in {missing}")
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
    """ "docker", "jvm" or "pypi". Raises ServicesMissing, in one line, where there is none.

    forced: one of the three; others leave the choice free, since what a test mistreats is never
    given. before: why no address is used. images, pypi: why the images, or the packages with a Java
    runtime, cannot be had, "" where they are there. say: gets one line, which way it is and why it
    is none of those before.
    """

    def why_no_docker() -> str:
        return images() if docker() else "no Docker daemon answers"

    ways = {DOCKER: why_no_docker, JVM: lambda: "" if jvm() else _NO_JAVA, PYPI: pypi}
    if forced in ways:
        if reason := ways[forced]():
            raise ServicesMissing(f"{FORCED}={forced}, but {reason}")
        say(f"Kafka and DynamoDB run {_OURS[forced]}: {FORCED}={forced}")
        return forced
    reasons = list(before)
    for way, why_not in ways.items():
        if not (reason := why_not()):
            because = f": {', '.join(reasons)}" if reasons else ""
            say(f"Kafka and DynamoDB run {_OURS[way]}{because}")
            return way
        reasons.append(reason)
    raise ServicesMissing(
        f"no Kafka and DynamoDB: {', '.join(reasons)}; start a Docker daemon, install Java 17 with"
        f" Maven, or give addresses in {KAFKA_ADDRESS} and {DYNAMODB_ADDRESS}"
    )


#: Asked once in a process, and again only after there was none.
_chosen = cache(choose_way)


def way() -> str:
    """The way of this process: "docker", "jvm" or "pypi". Raises ServicesMissing without any."""
    given = any(map(os.environ.get, (KAFKA_ADDRESS, DYNAMODB_ADDRESS)))
    return _chosen(forced_way(os.environ), () if given else ("no address is given",))


def java() -> Java:
    """The Java of this process, for what Docker cannot do. Raises ServicesMissing without any."""
    if way() == JVM or (way() == DOCKER and java_with_maven()):
        return INSTALLED
    if reason := why_no_java_from_pypi():
        raise ServicesMissing(f"{_NO_JAVA}, {reason}")
    return java_from_pypi()


def new_kafka(
    directory: Path,
    *,
    properties: Mapping[str, str] = {},
    users: Mapping[str, str] = {},
) -> KafkaService:
    """A Kafka that nobody else uses, not started.

    properties: further server properties. users: name -> password, for a second listener with an
    authorizer, as `access` says.
    """
    if way() == DOCKER:
        return KafkaInDocker(properties=properties, users=users)
    return Kafka(directory / "kafka", java=java(), properties=properties, users=users)


def new_dynamodb(directory: Path) -> DynamoDBService:
    """A DynamoDB that nobody else uses, not started."""
    if way() == DOCKER:
        return DynamoDBInDocker()
    return DynamoDBLocal(directory / "dynamodb", java())


@dataclass
class Services:
    """Addresses of both services, and what was started for them. A context manager.

    kafka, dynamodb: ours; None where an address was given. tool: Kafka's own tools, for ours.
    credentials: what DynamoDB takes, where it is ours.
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
        """What a child needs to find both."""
        addresses = {KAFKA_ADDRESS: self.bootstrap, DYNAMODB_ADDRESS: self.endpoint}
        return {**addresses, **self.credentials}

    def start_kafka(self) -> None:
        """Start one of our own."""
        self.kafka = new_kafka(self.directory)
        self.kafka.start()
        self.bootstrap, self.tool = self.kafka.bootstrap, self.kafka.tool

    def start_dynamodb(self) -> None:
        """Start one of our own."""
        self.dynamodb = new_dynamodb(self.directory)
        self.dynamodb.start()
        self.endpoint, self.credentials = self.dynamodb.endpoint, LOCAL_AWS

    def stop(self) -> None:
        """End everything that was started."""
        with ExitStack() as end:  # each of them, whatever becomes of the others
            end.callback(shutil.rmtree, self.directory, ignore_errors=True)
            for service in (self.kafka, self.dynamodb):
                if service is not None:
                    end.callback(service.stop)


def start_services(environ: Mapping[str, str] = os.environ) -> Services:
    """Both services, started where no address is given. Nothing is left behind on failure."""
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
