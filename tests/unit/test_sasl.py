"""What authenticates to Kafka: passwords from files, tokens from a provider."""

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import aiokafka.client
import aiokafka.conn
import pytest

from worker.config_file import load_settings
from worker.errors import ConfigurationError
from worker.kafka import sasl
from worker.kafka.sasl import (
    CredentialsUnavailable,
    Tokens,
    connect_with_current_password,
    sasl_options,
)
from worker.secret_file import SecretFile
from worker.settings import KafkaSettings

SASL = {"POSTE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL"}


def settings(**variables: str) -> KafkaSettings:
    named = {f"POSTE_KAFKA__{name}": value for name, value in variables.items()}
    return load_settings(None, {**SASL, **named}).kafka


async def async_token() -> str:
    return "from a coroutine"


@pytest.mark.parametrize(
    ("get_token", "expected"),
    [(async_token, "from a coroutine"), (lambda: "from a thread", "from a thread"),
     (partial(async_token), "from a coroutine")],
)  # fmt: skip
async def test_a_provider_may_be_a_function_or_a_coroutine(get_token: Any, expected: str) -> None:
    assert await Tokens("setting", get_token).token() == expected


@pytest.mark.parametrize("answer", [None, "", b"bytes", 7])
async def test_what_is_no_token_is_named(answer: Any) -> None:
    with pytest.raises(CredentialsUnavailable, match=r"setting returns .*, not a token"):
        await Tokens("setting", lambda: answer).token()


async def test_a_provider_that_fails_or_hangs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> str:
        raise RuntimeError("two\nlines")

    with pytest.raises(CredentialsUnavailable, match=r"setting fails: RuntimeError: two lines$"):
        await Tokens("setting", fails).token()

    async def hangs() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(sasl, "TOKEN_S_MAX", 0.01)
    with pytest.raises(CredentialsUnavailable, match=r"setting gives no token within 0.01 s"):
        await Tokens("setting", hangs).token()


async def test_a_provider_in_a_thread_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    began = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow() -> str:
        loop.call_soon_threadsafe(began.set)
        time.sleep(0.05)
        return "late"

    asking = asyncio.create_task(Tokens("setting", slow).token())
    await began.wait()
    assert not asking.done()
    assert await asking == "late"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere.to.be:found", "No module named 'nowhere'"),
        ("worker.kafka.sasl:nothing", "worker.kafka.sasl has no nothing"),
        ("worker.kafka.sasl:TOKEN_S_MAX", "it is not callable"),
    ],
)
def test_a_provider_that_cannot_be_used_is_named(name: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=r"kafka\.sasl_oauth_token_provider") as raised:
        sasl_options(settings(SASL_MECHANISM="OAUTHBEARER", SASL_OAUTH_TOKEN_PROVIDER=name))
    assert says in str(raised.value)


async def test_the_provider_of_aws_msk_signs_for_the_sdks_region(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the signer of AWS itself, from credentials of the environment, without a call."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
    kafka = settings(
        SASL_MECHANISM="OAUTHBEARER", SASL_OAUTH_TOKEN_PROVIDER="worker.kafka.msk_iam:token"
    )
    token = await sasl_options(kafka)["sasl_oauth_token_provider"].token()
    assert len(token) > 100
    assert "secret-of-the-test" not in token


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"SASL_MECHANISM": "OAUTHBEARER"}, "needs sasl_oauth_token_provider"),
        ({"SASL_OAUTH_TOKEN_PROVIDER": "no-module"}, "must be module:name"),
        ({"SASL_PLAIN_USERNAME": "u"}, "needs sasl_plain_username and sasl_plain_password"),
        ({"SASL_PLAIN_USERNAME": "u", "SASL_PLAIN_PASSWORD_FILE": ""}, "is empty: name a file"),
        (
            {"SASL_PLAIN_USERNAME": "u", "SASL_PLAIN_PASSWORD": "p",
             "SASL_PLAIN_PASSWORD_FILE": "f"},
            "set sasl_plain_password or sasl_plain_password_file, not both",
        ),
        (
            {"SECURITY_PROTOCOL": "SSL", "SSL_PASSWORD": "p", "SSL_PASSWORD_FILE": "f"},
            "set ssl_password or ssl_password_file, not both",
        ),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(
    variables: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        settings(**variables)


def test_a_secret_is_read_again_each_time(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    secret = SecretFile("kafka.sasl_plain_password_file", path)
    path.write_text(" first \r\n")
    assert secret.read() == " first "
    path.write_text("second")
    assert secret.read() == "second"
    assert "second" not in repr(secret)


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), (b"", "it is empty"), (b"\n", "it is empty"),
                          (b"\xff\xfe", "it is not UTF-8")],
)  # fmt: skip
def test_a_secret_that_cannot_be_read_is_one_line(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"^setting: cannot read {path}: {says}"):
        SecretFile("setting", path).read()


async def test_every_connection_takes_the_present_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka's clients connect by `aiokafka.client.create_conn`, with the options' password."""
    taken: list[Any] = []

    async def connect(*_: Any, sasl_plain_password: Any, **__: Any) -> None:
        taken.append(sasl_plain_password)

    monkeypatch.setattr(sasl, "aiokafka_create_conn", connect)
    path = tmp_path / "secret"
    path.write_text("first")
    options = sasl_options(settings(SASL_PLAIN_USERNAME="u", SASL_PLAIN_PASSWORD_FILE=str(path)))
    assert aiokafka.client.create_conn is connect_with_current_password
    for password in ("second", "third"):
        path.write_text(password)
        await connect_with_current_password(
            "host", 1, sasl_plain_password=options["sasl_plain_password"]
        )
    await connect_with_current_password("host", 1, sasl_plain_password="plain")
    assert taken == ["second", "third", "plain"]

    path.unlink()
    with pytest.raises(CredentialsUnavailable, match=r"kafka\.sasl_plain_password_file"):
        await connect_with_current_password(
            "host", 1, sasl_plain_password=options["sasl_plain_password"]
        )


async def test_a_refused_token_asks_for_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka takes any answer to a token for acceptance."""
    monkeypatch.setattr(aiokafka.conn, "OAuthAuthenticator", aiokafka.conn.OAuthAuthenticator)
    options = sasl_options(
        settings(SASL_MECHANISM="OAUTHBEARER", SASL_OAUTH_TOKEN_PROVIDER=f"{__name__}:async_token")
    )
    connection = aiokafka.conn.AIOKafkaConnection(
        "host", 1, security_protocol="SASL_PLAINTEXT", **options
    )
    for challenge, answer in ((b"", None), (b'{"status":"invalid_token"}', (b"\x01", True))):
        authenticator = connection.authenticator_oauth()
        sent, _ = await authenticator.step(None)
        assert b"from a coroutine" in sent
        assert await authenticator.step(challenge) == answer


def test_a_password_file_that_is_missing_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        sasl_options(
            settings(SASL_PLAIN_USERNAME="u", SASL_PLAIN_PASSWORD_FILE=str(tmp_path / "none"))
        )
