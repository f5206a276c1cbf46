"""The meaning of aiokafka's errors to a command and to a worker's start. One place for all of them.

    AWAY       no answer, or not from Kafka: a worker waits, a command reports it
    REFUSED    the broker, or TLS, refuses, or an address is invalid: waiting does not help

aiokafka swallows the error of every connection that it tries, logs it, and raises that there is no
broker. So `connections_watched` takes the errors from its log records, as they are.
"""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from aiokafka import errors
from aiokafka.errors import KafkaError

from worker.errors import OperatorError
from worker.kafka.sasl import CredentialsUnavailable
from worker.settings import KafkaSettings

#: Failed connections that one line names.
_NAMED_MAX = 3
#: A frame of that length is not Kafka's (`socket.request.max.bytes`): another protocol answers.
_FRAME_BYTES_MAX = 100 * 1024 * 1024


class Trouble(Enum):
    """Whether waiting helps."""

    AWAY = "away"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class KafkaFault:
    """The meaning of an error. text: one line that says what is wrong and what to do."""

    trouble: Trouble
    text: str

    def operators(self) -> OperatorError:
        """Return it as the error that ends a worker or a command."""
        return OperatorError(self.text)


class FailedConnectionLog(logging.Handler):
    """The last failed connections, with the error of each, by `host:port` or `broker 1`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.failed: dict[str, BaseException] = {}

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        found = [each for each in arguments if isinstance(each, BaseException)]
        if found:
            others = [str(each) for each in arguments if not isinstance(each, BaseException)]
            where = ":".join(others) if len(others) > 1 else f"broker {others[0]}"
            self.failed[where] = found[0]


@contextmanager
def connections_watched(log: FailedConnectionLog | None = None) -> Iterator[FailedConnectionLog]:
    """Collect what aiokafka's clients of this process log about connections during the block."""
    log, library = log or FailedConnectionLog(), logging.getLogger("aiokafka")
    library.addHandler(log)
    try:
        yield log
    finally:
        library.removeHandler(log)


#: aiokafka's errors that say only that there is no connection; its log has the cause.
_WITHOUT_CAUSE = (
    errors.KafkaConnectionError, errors.NodeNotReadyError, errors.KafkaTimeoutError,
    errors.NoBrokersAvailable, errors.StaleMetadata, TimeoutError,
)  # fmt: skip
_AUTHENTICATION = (
    errors.SaslAuthenticationFailed, errors.AuthenticationFailedError,
    errors.UnsupportedSaslMechanismError, errors.AuthenticationMethodNotSupported,
)  # fmt: skip
_AUTHORIZATION = (
    errors.TopicAuthorizationFailedError, errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError, errors.TransactionalIdAuthorizationFailed,
)  # fmt: skip
#: Python's errors for an invalid host or port. Only a broker can advertise one: those of the
#: settings are checked.
NO_ADDRESS = (UnicodeError, OverflowError)
_CLOSED = (
    EOFError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError, ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
)  # fmt: skip
#: Permanent errors, by kind, and what to do.
_REFUSALS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    (
        (ssl.SSLCertVerificationError,),
        "check kafka.ssl_cafile, the names in the certificate, and kafka.ssl_check_hostname",
    ),
    (
        (ssl.SSLError,),
        "check kafka.security_protocol, kafka.ssl_certfile and kafka.ssl_keyfile",
    ),
    (
        _AUTHENTICATION,
        (
            "check kafka.sasl_mechanism, kafka.sasl_plain_username and kafka.sasl_plain_password"
            " (or kafka.sasl_oauth_token_provider)"
        ),
    ),
    (
        (errors.IllegalSaslStateError,),
        "this listener does not use SASL: check kafka.security_protocol and the port",
    ),
    (_AUTHORIZATION, "grant this user the permissions that docs/operations.md lists"),
    (NO_ADDRESS, "check the broker's advertised.listeners"),
)


class ConnectionFaults:
    """Says why the clients of this process have no connection. kafka: as errors name it."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._log = FailedConnectionLog()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Collect the errors of connections during the block."""
        with connections_watched(self._log):
            yield

    def reason(self) -> str:
        """Return one line if a connection has failed since the last `forget`, else nothing."""
        failed = self._log.failed
        return fault_of(TimeoutError(), failed, self._kafka).text if failed else ""

    def forget(self) -> None:
        """Forget past failures: the brokers answer."""
        self._log.failed.clear()


def fault_of(
    error: BaseException, failed: Mapping[str, BaseException], kafka: KafkaSettings
) -> KafkaFault:
    """Return the meaning of a client's exception, and of the connections that failed before."""
    if not failed or not (isinstance(error, _WITHOUT_CAUSE) or type(error) is KafkaError):
        return _fault("", error, kafka)
    faults = [_fault(where, each, kafka) for where, each in failed.items()]
    refused = [fault for fault in faults if fault.trouble is Trouble.REFUSED]
    if refused or len(faults) == 1:
        return (refused or faults)[-1]
    reasons = [f"{_at(where, kafka)}{_reason(_root(each))}" for where, each in failed.items()]
    return _away(kafka, "; ".join(reasons[-_NAMED_MAX:]))


def _fault(where: str, error: BaseException, kafka: KafkaSettings) -> KafkaFault:
    root, at = _root(error), _at(where, kafka)
    if isinstance(root, CredentialsUnavailable):
        return KafkaFault(Trouble.REFUSED, f"cannot authenticate to Kafka: {root.args[0]}")
    if isinstance(root, _CLOSED):
        return _closed(kafka, f"{at}{_when(root, kafka)}")
    for kinds, advice in _REFUSALS:
        if isinstance(root, kinds):
            return _refused(kafka, f"{at}{_reason(root)}", advice)
    if where.startswith("broker "):  # advertised by another broker
        return _unreachable(kafka, where, _reason(root))
    if isinstance(root, (OSError, *_WITHOUT_CAUSE)) or type(root) is KafkaError:
        return _away(kafka, f"{at}{_reason(root)}")
    if isinstance(root, KafkaError) and root.retriable:
        return _not_now(kafka, f"{at}{_reason(root)}")
    return _refused(kafka, f"{at}{_reason(root)}", "check the broker's version and configuration")


def _closed(kafka: KafkaSettings, when: str) -> KafkaFault:
    tls = ", or require a client certificate (kafka.ssl_certfile)"
    text = (
        f"Kafka at {kafka.bootstrap_servers} closes the connection ({when}): does it speak"
        f" {kafka.security_protocol} there{tls if kafka.security_protocol.endswith('SSL') else ''}?"
        " Check kafka.security_protocol and the port"
    )
    return KafkaFault(Trouble.AWAY, text)


def _not_now(kafka: KafkaSettings, reason: str) -> KafkaFault:
    text = (
        f"Kafka at {kafka.bootstrap_servers} cannot do that now: {reason}; try again when all of"
        " its brokers are up"
    )
    return KafkaFault(Trouble.AWAY, text)


def _unreachable(kafka: KafkaSettings, broker: str, reason: str) -> KafkaFault:
    text = (
        f"Kafka at {kafka.bootstrap_servers} names {broker}, which cannot be reached from"
        f" here ({reason}): is it running, and are its advertised.listeners right?"
    )
    return KafkaFault(Trouble.AWAY, text)


def _away(kafka: KafkaSettings, reason: str) -> KafkaFault:
    return KafkaFault(
        Trouble.AWAY,
        f"no Kafka broker answers at {kafka.bootstrap_servers} ({reason}): is it running, and is"
        " kafka.bootstrap_servers (POSTE_KAFKA__BOOTSTRAP_SERVERS) right?",
    )


def _refused(kafka: KafkaSettings, reason: str, advice: str) -> KafkaFault:
    text = f"Kafka at {kafka.bootstrap_servers} refuses: {reason}; {advice}"
    return KafkaFault(Trouble.REFUSED, text)


def _root(error: BaseException) -> BaseException:
    """Return what closed a connection, behind the error of what waited on it."""
    while isinstance(error, errors.KafkaConnectionError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _at(where: str, kafka: KafkaSettings) -> str:
    return "" if where in {"", kafka.bootstrap_servers} else f"{where}: "


def _when(root: BaseException, kafka: KafkaSettings) -> str:
    """Return at which moment a connection was closed."""
    expected = root.expected if isinstance(root, asyncio.IncompleteReadError) else None
    if expected is not None and expected > _FRAME_BYTES_MAX:
        return "its answer is not Kafka's"
    return "in the TLS handshake" if kafka.security_protocol.endswith("SSL") else "at our request"


def _reason(error: BaseException) -> str:
    """Return why there is no connection, in words for a person."""
    if isinstance(error, socket.gaierror):
        return "the name does not resolve"
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message or error.reason}"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails: {error.reason or error}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return _name(error)


def _name(error: BaseException) -> str:
    """Return aiokafka's text, which includes the type; of other errors the type and the text."""
    text = " ".join(str(error).split())[:300]
    return text if type(error).__name__ in text else f"{type(error).__name__}: {text}"
