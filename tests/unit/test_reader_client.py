"""A reader in an environment with another aiobotocore: it makes public calls, and says so."""

import asyncio
import inspect
import logging
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import aioboto3
import pytest
from botocore.exceptions import BotoCoreError, CredentialRetrievalError

from poste_restante import open_mailboxes, signed_client
from poste_restante.credentials import Credentials, CredentialsError
from poste_restante.mailboxes import reader_config
from poste_restante.reader_client import PublicClient, ReaderClient, reader_client
from poste_restante.signed_client import SignedClient
from tests.fault_proxy.wire import Answer
from tests.unit.test_dynamodb_client import listening
from tests.unit.test_signed_client import RECORD, page

#: In the place of a name that is not there.
MISSING = object()


class Sdk:
    """aiobotocore's client as another version may have it: without a name, or with another thing
    behind it. changes: by the path of names that leads there."""

    def __init__(self, client: Any, changes: Mapping[tuple[str, ...], Any]) -> None:
        self.client = client
        self.changes = changes

    def __getattr__(self, name: str) -> Any:
        if (name,) not in self.changes:
            found = getattr(self.client, name)
            inner = {path[1:]: v for path, v in self.changes.items() if path[0] == name}
            return Sdk(found, inner) if inner else found
        if self.changes[name,] is MISSING:
            raise AttributeError(name)
        return self.changes[name,]


async def otherwise(first: Any, second: Any) -> None:
    """A function that is called otherwise."""


async def returns_otherwise(operation_model: Any, params: Any, request_context: Any) -> Any:
    return SimpleNamespace(url="https://x"), {}, {}


async def raises_otherwise(operation_model: Any, params: Any, request_context: Any) -> Any:
    raise KeyError("client_config")


async def returns_another_url(operation_model: Any, params: Any, request_context: Any) -> Any:
    return "dynamodb", {}, {}


def put(value: Any, *path: str) -> dict[tuple[str, ...], Any]:
    return {path: value}


def drop(*path: str) -> dict[tuple[str, ...], Any]:
    return put(MISSING, *path)


CHANGES = {
    "no endpoint": drop("_endpoint"),
    "no http session": drop("_endpoint", "http_session"),
    "a session without send": put(object(), "_endpoint", "http_session"),
    "send with more arguments": put(SimpleNamespace(send=otherwise), "_endpoint", "http_session"),
    "send that does not wait": put(
        SimpleNamespace(send=lambda request: None), "_endpoint", "http_session"
    ),
    "no ruleset": drop("_resolve_endpoint_ruleset"),
    "a ruleset with other arguments": put(otherwise, "_resolve_endpoint_ruleset"),
    "a ruleset that returns something else": put(returns_otherwise, "_resolve_endpoint_ruleset"),
    "a ruleset that asks for more": put(raises_otherwise, "_resolve_endpoint_ruleset"),
    "a ruleset with another url": put(returns_another_url, "_resolve_endpoint_ruleset"),
}


async def chosen(change: Mapping[tuple[str, ...], Any] = {}) -> ReaderClient:
    session = aioboto3.Session()
    config = reader_config(timeout_s=1.0, attempts=1, connections=1)
    async with session.client("dynamodb", config=config) as client:
        return await reader_client(Sdk(client, change), Credentials(session))


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The levels of the reader's own log lines."""
    return [each.levelname for each in caplog.records if each.name.startswith("poste_restante")]


async def test_our_own_environment_has_the_signed_client(caplog: pytest.LogCaptureFixture) -> None:
    """And says nothing of it (G8)."""
    with caplog.at_level(logging.INFO):
        assert isinstance(await chosen(), SignedClient)
    assert ours(caplog) == []


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
async def test_a_private_name_that_is_missing_or_different_makes_public_calls(
    change: Mapping[tuple[str, ...], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, at INFO (G8)."""
    with caplog.at_level(logging.INFO):
        assert isinstance(await chosen(change), PublicClient)
    assert ours(caplog) == ["INFO"]
    assert "through its public calls" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("create_parser", None),
        ("create_parser", lambda _: SimpleNamespace(parse=otherwise)),
        ("create_parser", lambda _: SimpleNamespace()),
        ("AioAWSResponse", None),
        ("AioAWSResponse", SimpleNamespace(content=b"")),
    ],
)
async def test_a_name_of_a_module_that_is_missing_or_different_makes_public_calls(
    name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of the client (G8)."""
    module = signed_client if name == "create_parser" else "aiobotocore.awsrequest"
    target = f"{getattr(module, '__name__', module)}.{name}"
    if value is None:
        monkeypatch.delattr(target)
    else:
        monkeypatch.setattr(target, value)

    assert isinstance(await chosen(), PublicClient)


async def test_a_signed_client_that_cannot_be_imported_makes_public_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It imports names that another version may not have (G8)."""
    monkeypatch.delattr("poste_restante.signed_client")
    monkeypatch.delattr("aiobotocore.parsers.create_parser")
    monkeypatch.delitem(inspect.sys.modules, "poste_restante.signed_client")  # type: ignore[attr-defined]

    assert isinstance(await chosen(), PublicClient)


async def test_a_configuration_that_no_client_can_use_is_left_to_the_first_call() -> None:
    """It is no reason for the public calls, which refuse it too (G9)."""

    async def refuses(operation_model: Any, params: Any, request_context: Any) -> Any:
        raise BotoCoreError

    assert isinstance(await chosen(put(refuses, "_resolve_endpoint_ruleset")), SignedClient)


async def test_mailboxes_are_read_by_public_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """From opening to a fetch (G2)."""
    monkeypatch.delattr("poste_restante.signed_client.create_parser")
    async with listening() as (endpoint, address):
        endpoint.answer = Answer.of(200, page(RECORD))
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", address)
        async with open_mailboxes() as mailboxes:
            endpoint.answer = Answer.of(200, page())
            assert (await mailboxes.fetch("bob")).messages == ()
    assert {str(each.headers["x-amz-target"]).split(".")[1] for each in endpoint.asked} == {"Query"}


class Failing:
    """A session whose credentials fail so many times."""

    def __init__(self, times: int) -> None:
        self.times = times

    async def get_credentials(self) -> Any:
        self.times -= 1
        if self.times >= 0:
            raise CredentialRetrievalError(provider="iam-role", error_msg="HTTP 500")
        return SimpleNamespace(get_frozen_credentials=partial(asyncio.sleep, 0))


async def test_public_calls_ask_a_failing_source_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as a call is attempted, and its error is one of credentials (G8)."""
    monkeypatch.setattr("poste_restante.reader_client.BACKOFF_S", 0.0)
    config = reader_config(timeout_s=1.0, attempts=3, connections=1)
    async with listening() as (endpoint, address):
        endpoint.answer = Answer.of(200, page(RECORD))
        session = aioboto3.Session()
        async with session.client("dynamodb", config=config, endpoint_url=address) as client:
            query: Any = {"TableName": "mailboxes", "KeyConditionExpression": "user_id = :u"}
            assert await PublicClient(client, Credentials(Failing(2))).query(**query)
            assert len(endpoint.asked) == 1
            with pytest.raises(CredentialsError):
                await PublicClient(client, Credentials(Failing(3))).query(**query)
            assert len(endpoint.asked) == 1
