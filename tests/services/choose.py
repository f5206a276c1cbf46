"""Which way the services are had: given addresses, Docker, or JVM children."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from tests.services.docker import DynamoDBInDocker, KafkaInDocker, docker_answers
from tests.services.jvm import DynamoDBLocal, Kafka, java_with_maven

#: The names under which the product itself reads the addresses.
KAFKA_ADDRESS = "POSTE_KAFKA__BOOTSTRAP_SERVERS"
DYNAMODB_ADDRESS = "AWS_ENDPOINT_URL_DYNAMODB"

#: What DynamoDB Local takes for credentials; it asks for letters and digits, and no more.
LOCAL_AWS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class ServicesMissing(RuntimeError):  # noqa: N818 - said as a state
    """Neither addresses, nor Docker, nor Java with Maven."""


class _Startable(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


@dataclass
class Services:
    """Addresses of both services, and what was started for them. A context manager.

    way: "given", "docker" or "jvm", for Kafka and for DynamoDB. environment: what a child
    needs to find them.
    """

    bootstrap: str
    endpoint: str
    ways: tuple[str, str]
    environment: dict[str, str]
    started: list[_Startable]
    directory: Path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything that `start_services` started."""
        for service in reversed(self.started):
            service.stop()
        self.started.clear()
        shutil.rmtree(self.directory, ignore_errors=True)


def choose_way(
    given: str | None,
    *,
    docker: Callable[[], bool] = docker_answers,
    jvm: Callable[[], bool] = java_with_maven,
) -> str:
    """ "given", "docker" or "jvm". Raises ServicesMissing, in one line, where there is none."""
    if given:
        return "given"
    if docker():
        return "docker"
    if jvm():
        return "jvm"
    raise ServicesMissing(
        "no Kafka and DynamoDB: start a Docker daemon, or install Java 17 with Maven"
        f" (or give addresses in {KAFKA_ADDRESS} and {DYNAMODB_ADDRESS})"
    )


def start_services(environ: Mapping[str, str] = os.environ) -> Services:
    """Both services, started where no address is given. Nothing is left behind on failure."""
    directory = Path(tempfile.mkdtemp(prefix="poste-restante-"))
    services = Services("", "", ("", ""), {}, [], directory)
    try:
        services.bootstrap, kafka_way = _kafka(environ.get(KAFKA_ADDRESS), services)
        services.endpoint, dynamodb_way = _dynamodb(environ.get(DYNAMODB_ADDRESS), services)
    except BaseException:
        services.stop()
        raise
    services.ways = (kafka_way, dynamodb_way)
    services.environment = {
        KAFKA_ADDRESS: services.bootstrap,
        DYNAMODB_ADDRESS: services.endpoint,
        **({} if dynamodb_way == "given" else LOCAL_AWS),
    }
    return services


def _kafka(given: str | None, services: Services) -> tuple[str, str]:
    way = choose_way(given)
    if way == "given":
        assert given is not None
        return given, way
    kafka = KafkaInDocker() if way == "docker" else Kafka(services.directory / "kafka")
    services.started.append(kafka)
    kafka.start()
    return kafka.bootstrap, way


def _dynamodb(given: str | None, services: Services) -> tuple[str, str]:
    way = choose_way(given)
    if way == "given":
        assert given is not None
        return given, way
    store = (
        DynamoDBInDocker() if way == "docker" else DynamoDBLocal(services.directory / "dynamodb")
    )
    services.started.append(store)
    store.start()
    return store.endpoint, way
