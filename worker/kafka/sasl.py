"""SASL to Kafka: passwords from files, and tokens from a provider.

aiokafka takes a password once, for the life of a client. A password in a file is read for every
connection instead, so that a rotated one is used without a restart: aiokafka's `create_conn`,
through which all clients connect, is replaced by one that reads it (tests/unit/test_sasl.py pins
it).

aiokafka 0.14 ignores the broker's answer to a token. A refused token then looks accepted, and the
next request is answered with error 34, which tells nobody why. `TokenAuthenticator` replaces its
class (tests/unit/test_sasl.py pins that too).
"""

import asyncio
import importlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import aiokafka.client
import aiokafka.conn
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from worker.errors import ConfigurationError
from worker.secret_file import SecretFile
from worker.settings import KafkaSettings

#: Seconds that a token may take; a token service answers within one.
TOKEN_S_MAX = 10.0

#: Returns a token, or an awaitable of one.
GetToken = Callable[[], str | Awaitable[str]]

#: aiokafka's own, which `connect_with_current_password` below takes the place of.
aiokafka_create_conn = aiokafka.client.create_conn


class CredentialsUnavailable(KafkaError):  # noqa: N818 - said as a state
    """There is no password or token for a new connection. The text is one line with the setting."""


class Tokens(AbstractTokenProvider):
    """Asks a callable for the token of every connection. A plain function runs in a thread.

    setting: named in errors.
    """

    def __init__(self, setting: str, get_token: GetToken) -> None:
        self._setting = setting
        self._get_token = get_token

    async def token(self) -> str:
        """Return a token. Raises CredentialsUnavailable if there is none within TOKEN_S_MAX."""
        try:
            async with asyncio.timeout(TOKEN_S_MAX):
                found = await self._ask()
        except TimeoutError:
            raise CredentialsUnavailable(
                f"{self._setting} gives no token within {TOKEN_S_MAX:g} s"
            ) from None
        except Exception as error:  # the provider is not ours
            raise CredentialsUnavailable(
                f"{self._setting} fails: {type(error).__name__}: {_one_line(error)}"
            ) from error
        if not isinstance(found, str) or not found:
            raise CredentialsUnavailable(
                f"{self._setting} returns {type(found).__name__}, not a token"
            )
        return found

    async def _ask(self) -> Any:
        if inspect.iscoroutinefunction(self._get_token):
            return await self._get_token()
        found = await asyncio.to_thread(self._get_token)
        return await found if inspect.isawaitable(found) else found


class TokenAuthenticator(aiokafka.conn.OAuthAuthenticator):
    """Sends a token, and asks for the reason where the broker does not accept it."""

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """Return the next message to the broker; None: the token is accepted.

        A refusal is a challenge that is not empty. The broker waits for the byte 0x01 and then
        answers with the error (RFC 7628, section 3.2.3), which aiokafka raises.
        """
        if payload:
            return b"\x01", True
        return await super().step(payload)  # type: ignore[no-any-return]


def sasl_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return aiokafka's arguments for SASL.

    Raises ConfigurationError for a password file or a token provider that cannot be used.
    """
    options: dict[str, Any] = {"sasl_mechanism": kafka.sasl_mechanism}
    if kafka.sasl_mechanism == "OAUTHBEARER":
        setting = f"kafka.sasl_oauth_token_provider = {kafka.sasl_oauth_token_provider}"
        provider = token_provider(kafka.sasl_oauth_token_provider)
        aiokafka.conn.OAuthAuthenticator = TokenAuthenticator
        return {**options, "sasl_oauth_token_provider": Tokens(setting, provider)}
    options["sasl_plain_username"] = kafka.sasl_plain_username
    if kafka.sasl_plain_password_file is None:
        assert kafka.sasl_plain_password is not None, "settings insist"
        options["sasl_plain_password"] = kafka.sasl_plain_password.get_secret_value()
    else:
        secret = SecretFile("kafka.sasl_plain_password_file", kafka.sasl_plain_password_file)
        secret.read()
        aiokafka.client.create_conn = connect_with_current_password
        options["sasl_plain_password"] = secret
    return options


def token_provider(name: str) -> GetToken:
    """Return the callable of `module:name`. Raises ConfigurationError if there is none."""
    module, _, attribute = name.partition(":")
    try:
        provider: GetToken = getattr(importlib.import_module(module), attribute)
    except AttributeError:
        raise _unusable(name, f"{module} has no {attribute}") from None
    except Exception as error:  # noqa: BLE001 - the module is not ours
        raise _unusable(name, f"{type(error).__name__}: {_one_line(error)}") from None
    if not callable(provider):
        raise _unusable(name, "it is not callable")
    return provider


def _unusable(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"kafka.sasl_oauth_token_provider: cannot use {name}: {reason}")


async def connect_with_current_password(
    *args: Any, sasl_plain_password: Any = None, **kwargs: Any
) -> Any:
    """Connect as aiokafka does, with the present password of a file. Raises as aiokafka's does, and
    CredentialsUnavailable."""
    if isinstance(sasl_plain_password, SecretFile):
        try:
            sasl_plain_password = sasl_plain_password.read()
        except ConfigurationError as error:
            raise CredentialsUnavailable(str(error)) from None
    return await aiokafka_create_conn(*args, sasl_plain_password=sasl_plain_password, **kwargs)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
