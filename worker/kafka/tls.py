"""TLS to Kafka: certificates and keys of the settings `kafka.ssl_*`."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.errors import ConfigurationError
from worker.settings import KafkaSettings


def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """Return the context of every connection. Raises ConfigurationError, which names the setting.

    Never asks at a terminal: an encrypted key needs `kafka.ssl_password`.
    """
    with _named("cafile", kafka.ssl_cafile):
        context = ssl.create_default_context(cafile=kafka.ssl_cafile)
    context.check_hostname = kafka.ssl_check_hostname
    if kafka.ssl_certfile is None:
        return context
    with _named("certfile", kafka.ssl_certfile):
        kafka.ssl_certfile.read_bytes()
    if kafka.ssl_keyfile is not None:
        with _named("keyfile", kafka.ssl_keyfile):
            kafka.ssl_keyfile.read_bytes()
    key, asked = kafka.ssl_keyfile or kafka.ssl_certfile, []

    def password() -> str:
        asked.append(True)
        return "" if kafka.ssl_password is None else kafka.ssl_password.get_secret_value()

    try:
        context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile, password)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        if asked and getattr(error, "reason", None) != "KEY_VALUES_MISMATCH":
            is_wrong = "is not set" if kafka.ssl_password is None else "is not that of the key"
            raise ConfigurationError(f"kafka.ssl_password {is_wrong}: {key} is encrypted") from None
        raise ConfigurationError(
            f"kafka.ssl_certfile: cannot use {kafka.ssl_certfile} with the key in {key}:"
            f" {_reason(error)}"
        ) from None
    return context


@contextmanager
def _named(setting: str, path: Path | None) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise ConfigurationError(
            f"kafka.ssl_{setting}: cannot use {path}: {_reason(error)}"
        ) from None


def _reason(error: Exception) -> str:
    """Return what is wrong with a file, in words."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
