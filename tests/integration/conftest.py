"""Scenes: on the shared services, or on services of a test's own that it may kill."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scene import Scene, scene_environment
from tests.services import DYNAMODB_ADDRESS, Services, new_dynamodb, new_kafka
from tests.services.choose import LOCAL_AWS


def _scene(services: Services, directory: Path, unique: str) -> Scene:
    if services.kafka is None:
        pytest.fail("these tests use Kafka's own tools: give no POSTE_KAFKA__BOOTSTRAP_SERVERS")
    topic, table, group = f"undelivered-{unique}", f"mailboxes-{unique}", f"group-{unique}"
    return Scene(
        environment=scene_environment(
            services.environment, topic=topic, table=table, group=group
        ),
        directory=directory, tool=services.kafka.tool, topic=topic, table=table, group=group,
    )  # fmt: skip


@pytest.fixture
def scene(services: Services, dynamodb: object, tmp_path: Path, unique: str) -> Iterator[Scene]:
    """A scene on the shared services."""
    made = _scene(services, tmp_path, unique)
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
def own_scene(own: Services, tmp_path: Path, unique: str) -> Iterator[Scene]:
    """A scene on services that the test may kill."""
    made = _scene(own, tmp_path, unique)
    yield made
    made.end()
