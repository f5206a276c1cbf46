"""What a broker that does not answer, or not as it should, is to a command: by small servers."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import errors

from tests import certificates
from worker.errors import ConfigurationError, OperatorError
from worker.kafka.admin import open_kafka_admin, wait_for_topics
from worker.kafka.errors import Trouble, connections_watched, fault_of
from worker.kafka.options import client_options
from worker.settings import KafkaSettings

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes a request and hangs up, as a broker does with another protocol than its listener's."""
    await reader.read(1000)
    writer.close()


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def speaks_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1000)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()
    writer.close()


@asynccontextmanager
async def listening(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on this machine; its port."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def said(kafka: KafkaSettings) -> str:
    """The line of a command that asks this Kafka."""
    with pytest.raises(OperatorError) as caught:
        async with open_kafka_admin(kafka):
            pytest.fail("it is not open")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("serve", [closes, resets, speaks_http])
async def test_a_connection_that_is_closed_names_the_protocol(serve: Serve) -> None:
    """Plaintext to a TLS port, or to no Kafka at all: the client's own reason is empty."""
    async with listening(serve) as port:
        line = await said(KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}"))

    assert f"Kafka at 127.0.0.1:{port} closes the connection (" in line
    assert "does it speak PLAINTEXT there? Check kafka.security_protocol" in line
    assert ("its answer is not Kafka's" in line) == (serve is speaks_http)


@pytest.mark.parametrize("serve", [closes, resets])
async def test_tls_to_a_plaintext_port_names_the_protocol(serve: Serve) -> None:
    """The handshake's error has no text."""
    async with listening(serve) as port:
        kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}", security_protocol="SSL")
        line = await said(kafka)

    assert "closes the connection (in the TLS handshake): does it speak SSL there" in line


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def trusting(port: int) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=f"localhost:{port}",
        security_protocol="SSL",
        ssl_cafile=certificates.AUTHORITY,
    )


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (certificates.UNTRUSTED, "self-signed certificate|unable to get local issuer"),
        (certificates.ELSEWHERE, "Hostname mismatch"),
        (certificates.EXPIRED, "certificate has expired"),
    ],
)
async def test_a_certificate_that_is_not_accepted_ends_a_command_and_a_worker(
    certificate: Path, reason: str
) -> None:
    """It is refused, which no wait mends; the line has OpenSSL's reason and our settings."""
    async with listening(closes, server_context(certificate)) as port:
        with pytest.raises(OperatorError, match=f"its certificate is not accepted: .*({reason})"):
            await wait_for_topics(trusting(port), ["undelivered"])
        line = await said(trusting(port))

    assert "refuses: its certificate is not accepted: " in line
    assert "check kafka.ssl_cafile" in line


async def test_a_broker_that_asks_for_a_certificate_names_the_setting() -> None:
    """TLS 1.3 refuses after the handshake, where it looks like a connection that is closed."""
    context = server_context(certificates.LOCALHOST)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.AUTHORITY)
    async with listening(closes, context) as port:
        line = await said(trusting(port))

    assert re.search(r"refuses: TLS fails: |closes the connection \(in the TLS handshake\)", line)
    assert "kafka.ssl_certfile" in line


@pytest.mark.parametrize(
    ("error", "trouble", "text"),
    [
        (errors.SaslAuthenticationFailed("wrong"), "refused", "kafka.sasl_plain_password"),
        (errors.UnsupportedSaslMechanismError("SCRAM-SHA-256"), "refused", "kafka.sasl_mechanism"),
        (errors.IllegalSaslStateError(), "refused", "does not use SASL"),
        (errors.TopicAuthorizationFailedError("t"), "refused", "permissions"),
        (errors.GroupAuthorizationFailedError("g"), "refused", "permissions"),
        (errors.ClusterAuthorizationFailedError(), "refused", "permissions"),
        (errors.UnsupportedVersionError(), "refused", "version"),
        (UnicodeError("label empty or too long"), "refused", "advertised.listeners"),
        (OverflowError("port must be 0-65535"), "refused", "advertised.listeners"),
        (errors.NotEnoughReplicasError(), "away", "cannot do that now"),
        (errors.KafkaConnectionError("nobody"), "away", "no Kafka broker answers"),
        (errors.KafkaError("Unable to get cluster metadata"), "away", "no Kafka broker answers"),
        (TimeoutError(), "away", "no answer in time"),
        (OSError(113, "No route to host"), "away", "No route to host"),
        (ssl.SSLEOFError(8, "EOF occurred"), "away", "closes the connection"),
    ],
)
def test_an_error_has_one_meaning(error: Exception, trouble: str, text: str) -> None:
    """Refused is refused, unanswered is unanswered."""
    fault = fault_of(error, {}, KafkaSettings())

    assert (fault.trouble.value, text in fault.text) == (trouble, True), fault.text


def test_every_error_of_the_client_has_a_meaning() -> None:
    """In one line, and not that nobody answers where a broker has."""
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.KafkaError)
        and kind is not errors.BrokerResponseError  # the base, of which there are none
    ]
    assert len(kinds) > 80
    for kind in kinds:
        fault = fault_of(kind("said"), {}, KafkaSettings())
        answered = issubclass(kind, errors.BrokerResponseError)
        assert not (answered and fault.text.startswith("no Kafka broker answers")), kind
        assert "\n" not in fault.text


def test_a_broker_that_refuses_counts_before_those_that_are_away() -> None:
    """One wrong password is no outage of the others."""
    failed = {
        "a:1": ConnectionRefusedError(111, "x"),
        "b:1": errors.SaslAuthenticationFailed("Authentication failed"),
        "c:1": socket.gaierror(-2, "Name or service not known"),
    }
    fault = fault_of(errors.KafkaConnectionError("none"), failed, KafkaSettings())
    assert fault.trouble is Trouble.REFUSED
    assert "b:1: " in fault.text

    del failed["b:1"]
    fault = fault_of(errors.KafkaConnectionError("none"), failed, KafkaSettings())
    assert fault.trouble is Trouble.AWAY
    assert "(a:1: Connection refused; c:1: the name does not resolve)" in fault.text


def test_an_advertised_address_that_does_not_resolve_is_named() -> None:
    """What failed is the broker that the first one named, and not our settings."""
    failed: dict[str, BaseException] = {
        "broker 1 at kafka.internal:9092": socket.gaierror(-2, "Name or service not known")
    }
    fault = fault_of(errors.NodeNotReadyError("1"), failed, KafkaSettings())

    assert fault.trouble is Trouble.AWAY
    assert "names broker 1 at kafka.internal:9092, which cannot be reached from here" in fault.text
    assert "(the name does not resolve)" in fault.text
    assert "advertised.listeners" in fault.text


async def test_the_clients_log_gives_the_errors_of_its_connections() -> None:
    """As they are: its exceptions leave them out. Held to the client that is installed."""
    with connections_watched() as connections, pytest.raises(OperatorError):
        async with open_kafka_admin(KafkaSettings(bootstrap_servers="127.0.0.1:1")):
            pass

    assert isinstance(connections.failed["127.0.0.1:1"], ConnectionRefusedError)


# ---- certificates and keys of ours


def test_an_encrypted_key_does_not_ask_at_a_terminal(tmp_path: Path) -> None:
    """OpenSSL would, and a worker would wait there for ever."""
    right: dict[str, Any] = {
        "security_protocol": "SSL",
        "ssl_certfile": certificates.LOCALHOST,
        "ssl_keyfile": certificates.LOCALHOST_ENCRYPTED_KEY,
        "ssl_password": "right",
    }
    assert client_options(KafkaSettings(**right))["ssl_context"]

    key = r"localhost-encrypted-key\.pem"
    other_key = certificates.ELSEWHERE_ENCRYPTED_KEY
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"ssl_password": None}, rf"kafka\.ssl_password is not set: .*{key} is encrypted"),
        ({"ssl_password": "wrong"}, rf"kafka\.ssl_password is not that of the key: .*{key}"),
        ({"ssl_keyfile": other_key}, r"ssl_certfile: cannot use .* with the key in .*elsewhere"),
        ({"ssl_keyfile": tmp_path}, r"kafka\.ssl_keyfile: cannot use .*: Is a directory"),
        ({"ssl_certfile": "/nowhere"}, r"kafka\.ssl_certfile: cannot use /nowhere: No such file"),
        ({"ssl_cafile": tmp_path}, r"kafka\.ssl_cafile: cannot use .*: Is a directory"),
        ({"ssl_cafile": other_key}, r"kafka\.ssl_cafile: cannot use .*: no certificate"),
    ]
    for change, line in wrong:
        with pytest.raises(ConfigurationError, match=line):
            client_options(KafkaSettings(**{**right, **change}))
