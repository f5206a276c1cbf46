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


class KafkaService(Protocol):
    """A Kafka of our own."""

    @property
    def bootstrap(self) -> str: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def stop(self) -> None: ...
    def tool(self, main: str, *arguments: str, text: str | None = None) -> str: ...


class DynamoDBService(Protocol):
    """A DynamoDB of our own."""

    @property
    def endpoint(self) -> str: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def stop(self) -> None: ...


def choose_way(
    *,
    docker: Callable[[], bool] = docker_answers,
    jvm: Callable[[], bool] = java_with_maven,
) -> str:
    """ "docker" or "jvm". Raises ServicesMissing, in one line, where there is neither."""
    if docker():
        return "docker"
    if jvm():
        return "jvm"
    raise ServicesMissing(
        "no Kafka and DynamoDB: start a Docker daemon, or install Java 17 with Maven"
        f" (or give addresses in {KAFKA_ADDRESS} and {DYNAMODB_ADDRESS})"
    )


def new_kafka(directory: Path) -> KafkaService:
    """A Kafka that nobody else uses, not started."""
    return KafkaInDocker() if choose_way() == "docker" else Kafka(directory / "kafka")


def new_dynamodb(directory: Path) -> DynamoDBService:
    """A DynamoDB that nobody else uses, not started."""
    return DynamoDBInDocker() if choose_way() == "docker" else DynamoDBLocal(directory / "dynamodb")


@dataclass
class Services:
    """Addresses of both services, and what was started for them. A context manager.

    kafka, dynamodb: ours; None where an address was given.
    """

    directory: Path
    bootstrap: str = ""
    endpoint: str = ""
    kafka: KafkaService | None = None
    dynamodb: DynamoDBService | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What a child needs to find both."""
        credentials = {} if self.dynamodb is None else LOCAL_AWS
        return {KAFKA_ADDRESS: self.bootstrap, DYNAMODB_ADDRESS: self.endpoint, **credentials}

    def stop(self) -> None:
        """End everything that was started."""
        if self.kafka is not None:
            self.kafka.stop()
        if self.dynamodb is not None:
            self.dynamodb.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def start_services(environ: Mapping[str, str] = os.environ) -> Services:
    """Both services, started where no address is given. Nothing is left behind on failure."""
    services = Services(Path(tempfile.mkdtemp(prefix="poste-restante-")))
    services.bootstrap = environ.get(KAFKA_ADDRESS, "")
    services.endpoint = environ.get(DYNAMODB_ADDRESS, "")
    try:
        if not services.bootstrap:
            services.kafka = new_kafka(services.directory)
            services.kafka.start()
            services.bootstrap = services.kafka.bootstrap
        if not services.endpoint:
            services.dynamodb = new_dynamodb(services.directory)
            services.dynamodb.start()
            services.endpoint = services.dynamodb.endpoint
    except BaseException:
        services.stop()
        raise
    return services
