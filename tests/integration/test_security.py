"""Brokers that authenticate and authorize, with exactly the documented permissions."""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local import Services
from tests.deployment import Deployment
from tests.integration.conftest import deployment_on
from tests.integration.test_health import Served
from tests.pages import page, table
from tests.records import MadeRecord
from tests.secured_broker import LISTENERS, PASSWORD, USER, SecuredBroker, token
from worker.dead_letters import DeadLetter, dead_letter_headers
from worker.errors import DeadLetterReason

#: Secrets that the tests set: none may be printed anywhere.
SECOND_PASSWORD = "second-secret-91bc"
#: The operations of the page, by librdkafka's names.
OPERATIONS = {
    "Read": "READ", "Write": "WRITE", "Describe": "DESCRIBE",
    "DescribeConfigs": "DESCRIBE_CONFIGS",
}  # fmt: skip
#: The listeners whose user is known. TLS alone knows nobody, who may do everything here.
OF_USERS = [name for name in LISTENERS if name != "TLS"]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    made = SecuredBroker(tmp_path_factory.mktemp("secured"))
    try:
        made.start()
        yield made
    finally:
        made.kafka.stop()


@pytest.fixture
def secured(
    broker: SecuredBroker, services: Services, dynamodb: object, tmp_path: Path, unique: str
) -> Iterator[Deployment]:
    """A deployment on the secured broker, whose topics are there; its user may do nothing yet."""
    on = replace(services, bootstrap=broker.kafka.bootstrap, tool=broker.kafka.tool)
    made = deployment_on(on, tmp_path, unique, Deployment)
    made.init()
    yield made
    made.end()
    printed = made.log()
    for secret in (PASSWORD, SECOND_PASSWORD, "eyJ"):  # a token begins so
        assert secret not in printed


def documented(command: str) -> Iterator[tuple[str, list[str]]]:
    """The ACLs of docs/operations.md for a command: the kind of resource, the operations."""
    current = ""
    for row in table(page("operations"), "command", "on", "operations"):
        current = row[0] or current
        if f"`{command}`" in current:
            named = re.findall(r"\b(?:Read|Write|DescribeConfigs|Describe)\b", row[2])
            yield row[1], [OPERATIONS[name] for name in named]


def grant(broker: SecuredBroker, deployment: Deployment, command: str, user: str = USER) -> None:
    """Let a user do what the page says that the command needs."""
    on = {
        "the topic": ("TOPIC", deployment.topic),
        "the dead-letter topic": ("TOPIC", f"{deployment.topic}.dead-letters"),
        "the group": ("GROUP", deployment.group),
    }
    for resource, operations in documented(command):
        broker.admin.allow(user, operations, *on[resource])


@pytest.mark.parametrize("listener", LISTENERS)
async def test_a_worker_with_the_documented_permissions_delivers(
    broker: SecuredBroker, secured: Deployment, listener: str
) -> None:
    """Messages, dead letters, commits, and the retention time for the metrics."""
    grant(broker, secured, "poste worker")
    grant(broker, secured, "poste send")
    as_user = broker.environment(listener)
    secured.worker(**as_user)
    await secured.produce([("bob", b"hello"), ("bad", None)])
    secured.poste("send", "bob", "again", check=True, **as_user)

    async def has_both() -> bool:
        return len(await secured.bodies("bob")) == 2

    await secured.until(has_both, "both messages are readable")
    await secured.said("dead letters: 1 (no_body 1)")
    await secured.drained()
    assert "partition" in secured.poste("progress", check=True, **as_user).stdout
    assert "ERROR" not in secured.log()


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("purge", ["bob", "--yes"]),
        ("verify", []),
        ("export", ["bob", "--records"]),
        ("dead-letters list", []),
        ("dead-letters show", ["0/0"]),
        ("dead-letters replay", ["--all", "--yes"]),
    ],
)
async def test_a_command_with_the_documented_permissions_does_its_work(
    broker: SecuredBroker, secured: Deployment, command: str, arguments: list[str]
) -> None:
    """And without them it ends with one line, whatever it reads or writes."""
    words = [*command.split(), *arguments]
    letter = DeadLetter(
        MadeRecord(topic=secured.topic, partition=0), DeadLetterReason.TOO_LARGE, ""
    )
    dead = {"key": "bob", "value": b"x", "headers": dead_letter_headers(letter), "partition": 0}
    await secured.produce([dead], topic=f"{secured.topic}.dead-letters")
    as_user = broker.environment(OF_USERS[0])
    refused = secured.poste(*words, check=False, **as_user)
    grant(broker, secured, f"poste {command}")
    secured.poste(*words, check=True, **as_user)

    assert refused.returncode == 1
    assert re.fullmatch(r"poste: .*(no permission|refuses).*\n", refused.stderr), refused.stderr


@pytest.mark.parametrize("listener", OF_USERS)
async def test_without_its_permissions_a_worker_ends_with_one_line(
    broker: SecuredBroker, secured: Deployment, listener: str
) -> None:
    """The control: the listener's user is the one whom the ACLs are about."""
    worker = secured.worker(**broker.environment(listener))
    assert await secured.exited(worker) == 1
    assert re.search(r"no permission to see it|denies|refuses", secured.log())
    assert "Traceback" not in secured.log()


async def test_a_rotated_password_is_used_at_the_next_connection(
    broker: SecuredBroker, secured: Deployment, tmp_path: Path
) -> None:
    """A worker that is refused meanwhile is unready, with the reason, and does not end (G8)."""
    grant(broker, secured, "poste worker")
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    env = broker.environment("SCRAM")
    del env["POSTE_KAFKA__SASL_PLAIN_PASSWORD"]
    served = Served(
        secured, POSTE_UNREADY_AFTER_S="2",
        POSTE_KAFKA__SASL_PLAIN_PASSWORD_FILE=str(secret), **env,
    )  # fmt: skip
    await served.until_ready(200)
    try:
        broker.set_password(SECOND_PASSWORD)
        await secured.produce([("bob", b"by an open connection")])
        await reads(secured, 1)

        restart(broker)
        body = await served.until_ready(503, "SaslAuthenticationFailed")
        assert any("kafka.sasl_plain_password" in reason for reason in body["reasons"]), body

        secret.unlink()
        await served.until_ready(503, "kafka.sasl_plain_password_file", "No such file")
        secret.write_text(SECOND_PASSWORD)
        await served.until_ready(200)
        await secured.produce([("bob", b"with the second password")])
        await reads(secured, 2)
    finally:
        broker.set_password(PASSWORD)


async def test_a_rotated_certificate_is_used_at_the_next_connection(
    broker: SecuredBroker, secured: Deployment, tmp_path: Path
) -> None:
    """The user of the second certificate may read; the one of the first may no longer (G8)."""
    first, second = f"first-{secured.group}", f"second-{secured.group}"
    for user in (first, second):
        grant(broker, secured, "poste worker", user)
    current = tmp_path / "client.pem"
    current.write_bytes(broker.pem(first).read_bytes())
    env = {**broker.environment("MTLS"), "POSTE_KAFKA__SSL_CERTFILE": str(current)}
    served = Served(secured, POSTE_UNREADY_AFTER_S="2", **env)
    await served.until_ready(200)
    await secured.produce([("bob", b"by the first certificate")])
    await reads(secured, 1)

    current.write_text("half a file")
    touch(current)
    restart(broker)
    await secured.said("the certificates have changed and cannot be used")
    await served.until_ready(200)

    current.write_bytes(broker.pem(second).read_bytes())
    touch(current)
    broker.admin.take_back(first, ["READ", "DESCRIBE"], "GROUP", secured.group)
    restart(broker)
    await served.until_ready(200)
    await secured.produce([("bob", b"by the second certificate")])
    await reads(secured, 2)


@pytest.mark.parametrize(
    ("provider", "says"),
    [
        ("tests.nowhere:token", "No module named 'tests.nowhere'"),
        ("tests.secured_broker:nothing", "tests.secured_broker has no nothing"),
        ("tests.secured_broker:USER", "is not callable"),
        ("no-module", "must be module:name"),
        ("tests.integration.test_security:failing_token", "RuntimeError: no token today"),
        ("tests.integration.test_security:empty_token", "returns str, not a token"),
    ],
)
async def test_a_token_provider_that_cannot_be_used_is_one_line(
    broker: SecuredBroker, secured: Deployment, provider: str, says: str
) -> None:
    env = {
        **broker.environment("OAUTH"), "POSTE_KAFKA__SASL_OAUTH_TOKEN_PROVIDER": provider,
        "PYTHONPATH": str(Path.cwd()),
    }  # fmt: skip
    done = secured.poste("progress", check=False, **env)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("poste: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert "kafka.sasl_oauth_token_provider" in done.stderr


async def test_a_token_that_the_broker_refuses_is_named(
    broker: SecuredBroker, secured: Deployment, tmp_path: Path
) -> None:
    """At the start in one line; a running worker is unready meanwhile, and does not end (G8)."""
    grant(broker, secured, "poste worker")
    current = tmp_path / "token"
    env = {
        **broker.environment("OAUTH"), "TOKEN_FILE": str(current), "PYTHONPATH": str(Path.cwd()),
        "POSTE_KAFKA__SASL_OAUTH_TOKEN_PROVIDER": "tests.integration.test_security:token_of_file",
    }  # fmt: skip
    current.write_text(token(seconds=-30))
    done = secured.poste("progress", check=False, **env)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "invalid_token" in done.stderr
    assert "kafka.sasl_oauth_token_provider" in done.stderr

    current.write_text(token())
    served = Served(secured, POSTE_UNREADY_AFTER_S="2", **env)
    await served.until_ready(200)
    current.write_text(token(seconds=-30))
    restart(broker)
    await served.until_ready(503, "invalid_token", "kafka.sasl_oauth_token_provider")
    current.write_text(token())
    await served.until_ready(200)
    await secured.produce([("bob", b"with a good token")])
    await reads(secured, 1)


def token_of_file() -> str:
    return Path(os.environ["TOKEN_FILE"]).read_text()


def failing_token() -> str:
    raise RuntimeError("no token today")


def empty_token() -> str:
    return ""


async def test_a_worker_with_a_rack_reads_and_commits(
    broker: SecuredBroker, secured: Deployment
) -> None:
    """The brokers' choice of a replica is theirs; with one broker it is the leader."""
    secured.worker(POSTE_KAFKA__CLIENT_RACK="eu-central-1a")
    await secured.produce([("bob", b"hello")])
    await reads(secured, 1)
    await secured.drained()


async def reads(deployment: Deployment, count: int) -> None:
    async def has_all() -> bool:
        return len(await deployment.bodies("bob")) == count

    await deployment.until(has_all, f"{count} messages are readable")


def restart(broker: SecuredBroker) -> None:
    """All connections are gone, and have to authenticate again."""
    broker.kafka.kill()
    broker.kafka.start()


def touch(path: Path) -> None:
    """A time of change that no earlier content had, whatever the file system's clock."""
    now_s = time.time() + 5
    os.utime(path, (now_s, now_s))


def test_the_page_has_the_permissions_that_the_tests_grant() -> None:
    assert dict(documented("poste worker")) == {
        "the topic": ["READ", "DESCRIBE", "DESCRIBE_CONFIGS"],
        "the dead-letter topic": ["WRITE", "DESCRIBE"],
        "the group": ["READ", "DESCRIBE"],
    }
    assert dict(documented("poste send")) == {"the topic": ["WRITE", "DESCRIBE"]}
