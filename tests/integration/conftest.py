"""Deployments: on the shared services, or on services of a test's own that it may kill."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from local import Services, new_kafka
from local.access import user_environment
from local.choose import Service
from local.ready import dynamodb_answers, kafka_answers
from tests import preloaded
from tests.deployment import Deployment, deployment_environment
from tests.once_per_run import OncePerRun

#: The user of `SecuredDeployment`.
USER, PASSWORD = "poste", "poste-secret"

S = TypeVar("S", bound=Deployment)


def deployment_on(services: Services, directory: Path, unique: str, kind: type[S]) -> S:
    """Return a deployment on these services, with names of its own."""
    preloaded.server()
    topic, table, group = f"undelivered-{unique}", f"mailboxes-{unique}", f"group-{unique}"
    return kind(
        environment=deployment_environment(
            services.environment, topic=topic, table=table, group=group
        ),
        directory=directory, tool=services.tool, topic=topic, table=table, group=group,
    )  # fmt: skip


@pytest.fixture
def deployment(
    services: Services, dynamodb: object, tmp_path: Path, unique: str
) -> Iterator[Deployment]:
    """A deployment on the shared services."""
    made = deployment_on(services, tmp_path, unique, Deployment)
    yield made
    made.end()


@pytest.fixture(scope="session")
def _killable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with Services(tmp_path_factory.mktemp("killable") / "services") as services:
        services.start_kafka()
        services.start_dynamodb()
        yield services


@pytest.fixture
def own(_killable: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """Services of this process's own, started, which a test may kill. The next one that asks finds
    them running, whatever became of them. pytest shows what the broker said if the test fails."""
    kafka, dynamodb = _killable.kafka, _killable.dynamodb
    assert kafka is not None
    assert dynamodb is not None
    _start_again(kafka, kafka_answers(port_of(_killable.bootstrap)))
    _start_again(dynamodb, dynamodb_answers(port_of(_killable.endpoint)))
    for name, value in _killable.environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    yield _killable
    print(kafka.tail())


def _start_again(service: Service, answers: bool) -> None:
    """Where a test has left it killed or paused."""
    if answers:
        return
    if service.alive:
        service.kill()
    service.start()


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


@pytest.fixture
def own_deployment(own: Services, tmp_path: Path, unique: str) -> Iterator[Deployment]:
    """A deployment on services that the test may kill."""
    made = deployment_on(own, tmp_path, unique, Deployment)
    yield made
    made.end()


class Secured(NamedTuple):
    """Addresses of the broker with an authorizer: where all is allowed, and where users come."""

    bootstrap: str
    users: str


class SecuredDeployment(Deployment):
    """A deployment whose broker has an authorizer. Producers, tools and readers of the test come by
    the plain listener and may do everything; `as_user` makes a worker or a command a user's."""

    bootstrap_secured: str

    @property
    def as_user(self) -> dict[str, str]:
        """Variables for `worker(**env)` and `poste(..., **env)`."""
        return user_environment(self.bootstrap_secured, USER, PASSWORD)

    def allow(self, operations: Sequence[str], kind: str, name: str) -> None:
        """Let the user do this on a resource: `allow(["READ"], "GROUP", deployment.group)`."""
        self.admin.allow(USER, operations, kind, name)

    def take_back(self, operations: Sequence[str], kind: str, name: str) -> None:
        """Remove what was allowed."""
        self.admin.take_back(USER, operations, kind, name)


@pytest.fixture(scope="session")
def secured_kafka(once_per_run: OncePerRun, run_directory: Path) -> Secured:
    """A broker with an authorizer and one user, who may do nothing yet; of all processes of the
    run."""
    return once_per_run.use("secured", partial(_secured, run_directory))


@contextmanager
def _secured(directory: Path) -> Iterator[Secured]:
    kafka = new_kafka(directory / "of-secured", users={USER: PASSWORD})
    try:
        kafka.start()
        yield Secured(kafka.bootstrap, kafka.secured)
    finally:
        kafka.stop()


@pytest.fixture
def secured_deployment(
    secured_kafka: Secured, services: Services, dynamodb: object, tmp_path: Path, unique: str
) -> Iterator[SecuredDeployment]:
    """A deployment on the broker with an authorizer, and on the shared DynamoDB."""
    made = deployment_on(
        replace(services, bootstrap=secured_kafka.bootstrap, tool=None), tmp_path, unique,
        SecuredDeployment,
    )  # fmt: skip
    made.bootstrap_secured = secured_kafka.users
    yield made
    made.end()
