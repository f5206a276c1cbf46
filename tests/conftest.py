"""The real services, for the tests that ask for them: started once in a run, never skipped."""

import gc
import os
import signal
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from local import (
    DYNAMODB_ADDRESS,
    KAFKA_ADDRESS,
    Services,
    ServicesMissingError,
    start_services,
)
from local.choose import DOCKER, FORCED, JVM, LOCAL_AWS, PYPI
from tests.once_per_run import OncePerRun
from tests.optional import fail_if_skipped
from tests.run_order import alternate
from tests.sdk_data import share_sdk_data

_OURS = os.environ.get(FORCED) in (DOCKER, JVM, PYPI)
_ADDRESSES = () if _OURS else (KAFKA_ADDRESS, DYNAMODB_ADDRESS)
#: Addresses given on purpose. A DynamoDB that is given is asked with the credentials given.
GIVEN = {name: os.environ[name] for name in _ADDRESSES if os.environ.get(name)}
#: Everything else that could steer the product is taken away.
STRAY = ("POSTE_",) if DYNAMODB_ADDRESS in GIVEN else ("POSTE_", "AWS_")
for _name in [name for name in os.environ if name.startswith(STRAY)]:
    del os.environ[_name]
if DYNAMODB_ADDRESS not in GIVEN:
    os.environ.update(LOCAL_AWS)

# What a shell starts in the background ignores Ctrl-C, and hands that on to its children.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: An example that was slow is no finding: the machine may be busy. Else as where it runs.
settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy machine")

share_sdk_data()

HERE = Path(__file__).parent
#: Files that begin first, since they are among those that take longest.
LONGEST = {"test_storm", "test_sweeps", "test_stalled", "test_outages"}


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need the services: those of tests/integration, and those that ask for
    them. If several processes share the run, tests/run_order.py says in which order."""
    slow: list[pytest.Item] = []
    quick: list[pytest.Item] = []
    for item in items:
        integration = item.path.is_relative_to(HERE / "integration")
        (slow if integration else quick).append(item)
        if integration or "services" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.services)
    if (processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
        slow.sort(key=lambda item: item.path.stem not in LONGEST)
        items[:] = alternate(slow, quick, processes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Nothing is skipped where nothing may be."""
    report = yield
    fail_if_skipped(report)
    return report


class Address:
    """Where a service is: `.bootstrap` of Kafka, `.endpoint` of DynamoDB."""

    def __init__(self, *, bootstrap: str = "", endpoint: str = "") -> None:
        self.bootstrap = bootstrap
        self.endpoint = endpoint


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all processes of the run; xdist gives each of them one in it."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def once_per_run(run_directory: Path) -> Iterator[OncePerRun]:
    """What all processes of the run share."""
    with OncePerRun(run_directory) as shared:
        yield shared


@pytest.fixture(scope="session")
def services(once_per_run: OncePerRun) -> Services:
    """Both services, of all processes of the run. Where they cannot be had the run ends, in one
    line, and has failed."""
    return once_per_run.use("services", _started)


@contextmanager
def _started() -> Iterator[Services]:
    """What is handed out cannot be killed: others use it."""
    try:
        started = start_services({**GIVEN, FORCED: os.environ.get(FORCED, "")})
    except ServicesMissingError as error:
        pytest.exit(str(error), returncode=1)
    with started:
        yield replace(started, kafka=None, dynamodb=None)


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
