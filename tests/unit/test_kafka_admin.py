"""Kafka as the command and the worker's start ask it, on clients that go wrong."""

import asyncio
import logging
import ssl
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    NotEnoughReplicasError,
    TopicAuthorizationFailedError,
    UnsupportedVersionError,
)

from tests.operations_page import error_rows
from worker.cli import sending
from worker.cli.sending import send_body
from worker.config_file import load_settings
from worker.errors import ConfigurationError, OperatorError
from worker.kafka import admin as kafka_module
from worker.kafka.admin import open_kafka_admin, start_with_topics, wait_for_topics
from worker.kafka.options import client_options
from worker.settings import KafkaSettings

KAFKA = KafkaSettings()


def explained(error: BaseException, row: str) -> None:
    """Fails unless the error is the line of docs/operations.md."""
    assert error_rows()[row].status == 1
    assert error_rows()[row].line.split("…")[0] in str(error)
    assert "\n" not in str(error)


class Admin:
    """An admin client. fates: of each `start`, an error or None; topics: with their error code."""

    def __init__(self, *fates: BaseException | None, **topics: int) -> None:
        self.fates = list(fates)
        self.topics = {name.replace("_", "-"): code for name, code in topics.items()}
        self.opened = 0
        self.asked: list[Any] = []

    def __call__(self, **options: Any) -> "Admin":
        assert options["bootstrap_servers"] == ["127.0.0.1:9092"]
        self.opened += 1
        return self

    async def start(self) -> None:
        fate = self.fates.pop(0) if self.fates else None
        if fate is not None:
            logging.getLogger("aiokafka").error("%s:%s: %s", "a", 1, OSError(5, "it is dark"))
            raise fate

    async def close(self) -> None:
        self.opened -= 1

    async def describe_topics(self, names: list[str] | None) -> list[Any]:
        self.asked.append(names)
        return [
            {"topic": name, "error_code": code, "partitions": [{"replicas": [1, 2]}] * 3}
            for name, code in self.topics.items()
        ]

    configs: tuple[Any, ...] = ()

    async def describe_configs(self, resources: list[Any]) -> list[Any]:
        return [SimpleNamespace(resources=self.configs)]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes an admin client the one that is opened, and waits short."""

    def used(admin: Admin) -> Admin:
        monkeypatch.setattr(kafka_module, "AIOKafkaAdminClient", admin)
        monkeypatch.setattr(kafka_module, "backoff_delays", lambda *_, **__: iter([0.0] * 9))
        return admin

    return used


def test_options_are_the_settings_by_kafkas_names() -> None:
    """User and password reach the client; no other place shows them."""
    settings = load_settings(
        None,
        {
            "POSTE_KAFKA__BOOTSTRAP_SERVERS": "a:1, b:2",
            "POSTE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "POSTE_KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
            "POSTE_KAFKA__SASL_PLAIN_USERNAME": "u",
            "POSTE_KAFKA__SASL_PLAIN_PASSWORD": "p",
            "POSTE_KAFKA__SSL_CHECK_HOSTNAME": "false",
        },
    )
    options = client_options(settings.kafka)
    context = options.pop("ssl_context")

    assert options == {
        "bootstrap_servers": ["a:1", "b:2"],
        "client_id": "poste-restante",
        "security_protocol": "SASL_SSL",
        "request_timeout_ms": 40_000,
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "u",
        "sasl_plain_password": "p",
    }
    assert isinstance(context, ssl.SSLContext)
    assert not context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED, "the certificate is verified all the same"


@pytest.mark.parametrize("path", ["/nowhere/ca.pem", "\0"])
def test_unusable_certificates_are_the_configurations_fault(path: str) -> None:
    """In one line, with exit status 2."""
    settings = KafkaSettings(security_protocol="SSL", ssl_cafile=path)
    with pytest.raises(ConfigurationError, match=r"kafka\.ssl_cafile: cannot use "):
        client_options(settings)


@pytest.mark.parametrize("fate", [KafkaConnectionError(), TimeoutError(), OSError("refused")])
async def test_a_command_says_which_broker_does_not_answer(use: Any, fate: Exception) -> None:
    """With the reason that the client gave in its log alone, and everything closed again."""
    admin = use(Admin(fate))
    with pytest.raises(OperatorError) as caught:
        async with open_kafka_admin(KAFKA):
            pytest.fail("it is not open")

    explained(caught.value, "no Kafka broker answers at … (…): is it running, …")
    reason = "OSError: refused" if type(fate) is OSError else "a:1: Input/output error"
    assert f"({reason})" in str(caught.value)
    assert admin.opened == 0
    assert not logging.getLogger("aiokafka").handlers


@pytest.mark.parametrize(
    ("error", "row"),
    [
        (TopicAuthorizationFailedError("undelivered"), "Kafka at … refuses: …"),
        (UnsupportedVersionError(), "Kafka at … refuses: …"),
        (TimeoutError(), "Kafka at … did not answer within 10 s: …"),
    ],
)
async def test_a_refusal_in_mid_command_is_one_line(use: Any, error: Exception, row: str) -> None:
    """It names the broker's reason, and is no traceback."""
    use(Admin())
    with pytest.raises(OperatorError) as caught:
        async with open_kafka_admin(KAFKA):
            raise error

    explained(caught.value, row)


async def test_no_question_makes_a_topic(use: Any) -> None:
    """A broker that creates topics by itself does so when it is asked for one by name."""
    admin = use(Admin(here=0))
    async with open_kafka_admin(KAFKA) as kafka:
        there, missing = await kafka.topic("here"), await kafka.topic("nowhere")

    assert there is not None
    assert (there.partitions, there.replicas) == (3, 2)
    assert missing is None
    assert set(map(str, admin.asked)) == {"None"}


async def test_a_configuration_that_we_may_not_read_is_not_an_empty_one(use: Any) -> None:
    """The broker answers with a code instead of entries; what it is worth is `init`'s to say."""
    admin = use(Admin(here=0))
    admin.configs = ((29, None, 2, "here", []),)
    async with open_kafka_admin(KAFKA) as kafka:
        denied = await kafka.topic("here")
    admin.configs = ((0, None, 2, "here", [("cleanup.policy", "compact", False, 0, False)]),)
    async with open_kafka_admin(KAFKA) as kafka:
        seen = await kafka.topic("here")

    assert denied is not None
    assert seen is not None
    assert (denied.unread, dict(denied.config)) == ("TopicAuthorizationFailedError", {})
    assert (seen.unread, dict(seen.config)) == ("", {"cleanup.policy": "compact"})


async def test_a_worker_waits_for_a_broker_that_is_away(
    use: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Without end, and saying so; a topic without a leader is waited for too."""
    away = KafkaConnectionError("nobody there")
    admin = use(Admin(away, TimeoutError(), OSError("unreachable"), LeaderNotAvailableError(), a=0))

    why: list[str] = []
    assert await wait_for_topics(KAFKA, ["a"], why.append) == 3
    assert [text.partition(" 127.0.0.1:9092 ")[0] for text in why] == [
        "no Kafka broker answers at", "no Kafka broker answers at", "no Kafka broker answers at",
        "Kafka at",
    ]  # fmt: skip
    assert "(a:1: Input/output error)" in why[0]
    assert "cannot do that now: [Error 5] LeaderNotAvailableError" in why[3]
    said = [r.getMessage() for r in caplog.records if r.name == "worker.kafka.admin"]
    assert len(said) == 1  # and no more within half a minute
    assert said[0].startswith("waiting for Kafka at 127.0.0.1:9092: ")
    assert admin.opened == 0


async def test_a_worker_does_not_wait_for_a_topic_that_is_missing(use: Any) -> None:
    """Nor for a permission: somebody has to act."""
    admin = use(Admin(a=0))
    with pytest.raises(OperatorError, match="there is no topic 'b'"):
        await wait_for_topics(KAFKA, ["a", "b"])
    use(Admin(TopicAuthorizationFailedError()))
    with pytest.raises(OperatorError, match=r"refuses: .*TopicAuthorizationFailedError"):
        await wait_for_topics(KAFKA, ["a"])

    assert admin.opened == 0


@pytest.mark.parametrize("error", [NotEnoughReplicasError(), TimeoutError()])
async def test_a_message_that_was_not_acknowledged_is_not_sent(
    use: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """`send` says so: it may have arrived or not, the same id makes a second try safe (G5)."""

    class Producer:
        def __init__(self, **options: Any) -> None:
            assert options["acks"] == "all"

        async def start(self) -> None: ...
        async def stop(self) -> None: ...
        async def send_and_wait(self, *_: Any, **__: Any) -> None:
            raise error

    use(Admin(undelivered_messages=0))
    monkeypatch.setattr(sending, "AIOKafkaProducer", Producer)
    with pytest.raises(OperatorError) as caught:
        await send_body(KAFKA, "bob", b"hi", [])

    explained(caught.value, "not sent: …")


async def test_an_answer_that_does_not_come_is_not_waited_for_without_end(
    use: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command ends with the broker's line (G8)."""

    async def ask() -> None:
        await asyncio.Event().wait()

    use(Admin())
    monkeypatch.setattr(kafka_module, "ANSWER_S_MAX", 0.05)
    with pytest.raises(OperatorError, match="did not answer"):
        async with open_kafka_admin(KAFKA):
            await kafka_module.coordinated(ask)


async def test_an_answer_that_comes_after_a_moment_is_waited_for(use: Any) -> None:
    """A new cluster has no coordinator yet; the wait has a limit (G8)."""
    fates: list[KafkaError | None] = [LeaderNotAvailableError(), LeaderNotAvailableError(), None]

    async def ask() -> str:
        fate = fates.pop(0)
        if fate is not None:
            raise fate
        return "here"

    use(Admin())

    assert await asyncio.wait_for(kafka_module.coordinated(ask), 5) == "here"


@pytest.mark.parametrize("error", [KafkaConnectionError(), TimeoutError(), OSError("unreachable")])
async def test_a_broker_that_goes_away_as_a_client_starts_is_waited_for_again(
    error: Exception,
) -> None:
    """Between its answer about the topics and the client's own connections: no worker ends for a
    broker that is away (G8)."""
    order: list[str] = []
    failures = [error, error]

    class Client:
        async def start(self) -> None:
            order.append("start")
            if failures:
                raise failures.pop()

        async def stop(self) -> None:
            order.append("stop")

    async def wait() -> None:
        order.append("wait")

    async def sleep(_: float) -> None:
        order.append("sleep")

    await start_with_topics(Client(), wait, sleep)

    assert order == [*["wait", "start", "stop", "sleep"] * 2, "wait", "start"]
