"""Scenes: on the shared services, or on services of a test's own that it may kill."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from local import DYNAMODB_ADDRESS, KafkaService, Services, new_dynamodb, new_kafka
from local.access import change_acl, user_environment
from local.choose import LOCAL_AWS
from tests.deployment import Deployment, deployment_environment

#: The user of `SecuredDeployment`.
USER, PASSWORD = "poste", "poste-secret"

S = TypeVar("S", bound=Deployment)


def _deployment(services: Services, directory: Path, unique: str, kind: type[S]) -> S:
    if services.kafka is None:
        pytest.fail("these tests use Kafka's own tools: give no POSTE_KAFKA__BOOTSTRAP_SERVERS")
    topic, table, group = f"undelivered-{unique}", f"mailboxes-{unique}", f"group-{unique}"
    return kind(
        environment=deployment_environment(
            services.environment, topic=topic, table=table, group=group
        ),
        directory=directory, tool=services.kafka.tool, topic=topic, table=table, group=group,
    )  # fmt: skip


@pytest.fixture
def deployment(
    services: Services, dynamodb: object, tmp_path: Path, unique: str
) -> Iterator[Deployment]:
    """A deployment on the shared services."""
    made = _deployment(services, tmp_path, unique, Deployment)
    yield made
    made.end()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """Services of the test's own, started, which it may kill."""
    services = Services(tmp_path / "services")
    services.kafka, services.dynamodb = (
        new_kafka(services.directory),
        new_dynamodb(services.directory),
    )
    yield from _started(services, monkeypatch)


def _started(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    assert services.kafka is not None
    assert services.dynamodb is not None
    with services:
        services.kafka.start()
        services.dynamodb.start()
        services.bootstrap = services.kafka.bootstrap
        services.endpoint = services.dynamodb.endpoint
        monkeypatch.setenv(DYNAMODB_ADDRESS, services.endpoint)
        for name, value in LOCAL_AWS.items():
            monkeypatch.setenv(name, value)
        yield services


@pytest.fixture
def own_deployment(own: Services, tmp_path: Path, unique: str) -> Iterator[Deployment]:
    """A deployment on services that the test may kill."""
    made = _deployment(own, tmp_path, unique, Deployment)
    yield made
    made.end()


class SecuredDeployment(Deployment):
    """A deployment whose broker has an authorizer. Producers, tools and readers of the test come by
    the plain listener and may do everything; `as_user` makes a worker or a command a user's."""

    bootstrap_secured: str

    @property
    def as_user(self) -> dict[str, str]:
        """Variables for `worker(**env)` and `poste(..., **env)`."""
        return user_environment(self.bootstrap_secured, USER, PASSWORD)

    def allow(self, operations: Sequence[str], *on: str) -> None:
        """Let the user do this on a resource: `allow(["Read"], "--group", deployment.group)`."""
        change_acl(self.tool, "--add", USER, operations, *on)

    def take_back(self, operations: Sequence[str], *on: str) -> None:
        """Remove what was allowed."""
        change_acl(self.tool, "--remove", USER, operations, *on)


@pytest.fixture(scope="session")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaService]:
    """A broker with an authorizer and one user, who may do nothing yet; shared, started once."""
    kafka = new_kafka(tmp_path_factory.mktemp("secured"), users={USER: PASSWORD})
    try:
        kafka.start()
        yield kafka
    finally:
        kafka.stop()


@pytest.fixture
def secured_deployment(
    secured_kafka: KafkaService, services: Services, dynamodb: object, tmp_path: Path, unique: str
) -> Iterator[SecuredDeployment]:
    """A deployment on the broker with an authorizer, and on the shared DynamoDB."""
    made = _deployment(
        replace(services, kafka=secured_kafka, bootstrap=secured_kafka.bootstrap), tmp_path, unique,
        SecuredDeployment,
    )  # fmt: skip
    made.bootstrap_secured = secured_kafka.secured
    yield made
    made.end()
