"""The real services, for the tests that ask for them: started once, never skipped."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import DYNAMODB_ADDRESS, KAFKA_ADDRESS, Services, start_services
from tests.services.choose import LOCAL_AWS

#: Addresses given on purpose; everything else that could steer the product is taken away.
GIVEN = {name: os.environ[name] for name in (KAFKA_ADDRESS, DYNAMODB_ADDRESS) if name in os.environ}
for _name in [n for n in os.environ if n.startswith(("POSTE_", "AWS_"))]:
    if DYNAMODB_ADDRESS not in GIVEN or not _name.startswith("AWS_"):
        del os.environ[_name]
for _name, _value in LOCAL_AWS.items():
    os.environ.setdefault(_name, _value)

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything under tests/integration needs the services."""
    for item in items:
        if item.path.is_relative_to(HERE / "integration"):
            item.add_marker(pytest.mark.services)


class Address:
    """Where a service is: `.bootstrap` of Kafka, `.endpoint` of DynamoDB."""

    def __init__(self, *, bootstrap: str = "", endpoint: str = "") -> None:
        self.bootstrap = bootstrap
        self.endpoint = endpoint


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """Both services. A service that cannot be had fails the run."""
    with start_services({**os.environ, **GIVEN}) as started:
        yield started


@pytest.fixture(scope="session")
def kafka(services: Services) -> Address:
    return Address(bootstrap=services.bootstrap)


@pytest.fixture(scope="session")
def dynamodb(services: Services, monkeypatch_session: pytest.MonkeyPatch) -> Address:
    monkeypatch_session.setenv(DYNAMODB_ADDRESS, services.endpoint)
    return Address(endpoint=services.endpoint)


@pytest.fixture(scope="session")
def monkeypatch_session() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture
def unique() -> str:
    """A name that no other test has."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def topic_name(unique: str) -> str:
    return f"undelivered-{unique}"


@pytest.fixture
def group_name(unique: str) -> str:
    return f"group-{unique}"


@pytest.fixture
def table_name(unique: str) -> str:
    return f"mailboxes-{unique}"
