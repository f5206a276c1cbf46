"""TLS to Kafka: the certificates and keys of `kafka.ssl_*`, read again when they change."""

import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worker.errors import ConfigurationError
from worker.logging_config import event
from worker.secret_file import SecretFile
from worker.settings import KafkaSettings

logger = logging.getLogger(__name__)

#: Identifies the content of the files: of each, its inode, size and time of change.
Stamp = tuple[tuple[int, int, int] | None, ...]


class RotatingContext(ssl.SSLContext):
    """The context of every connection, made anew from its files when one of them has changed.

    A new connection takes the present certificate, key and CAs. If they cannot be used together,
    such as in the middle of a replacement, it takes the last ones that could, and a line is logged.
    """

    _kafka: KafkaSettings
    _stamp: Stamp
    _present: ssl.SSLContext

    @classmethod
    def of(cls, kafka: KafkaSettings) -> "RotatingContext":
        """Return the context of these settings. Raises ConfigurationError as `ssl_context`."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context._kafka = kafka
        context._stamp = _stamp(kafka)
        context._present = ssl_context(kafka)
        context.check_hostname = kafka.ssl_check_hostname
        return context

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Begin the TLS of one connection; asyncio calls it."""
        stamp = _stamp(self._kafka)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._present = ssl_context(self._kafka)
            except ConfigurationError as error:
                logger.warning(
                    "the certificates have changed and cannot be used: %s; connecting with those"
                    " before", error,
                    extra=event("certificates_unusable", reason=str(error)),
                )  # fmt: skip
        return self._present.wrap_bio(*args, **kwargs)


def _stamp(kafka: KafkaSettings) -> Stamp:
    paths = (kafka.ssl_cafile, kafka.ssl_certfile, kafka.ssl_keyfile, kafka.ssl_password_file)
    return tuple(map(_stamp_of, paths))


def _stamp_of(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = None if path is None else path.stat()
    except (OSError, ValueError):
        return None
    return None if found is None else (found.st_ino, found.st_size, found.st_mtime_ns)


def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """Return a context of the files as they are now. Raises ConfigurationError, which names the
    setting.

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
    secret = _key_password(kafka)

    def password() -> str:
        asked.append(True)
        return secret or ""

    try:
        context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile, password)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        if asked and getattr(error, "reason", None) != "KEY_VALUES_MISMATCH":
            is_wrong = "is not set" if secret is None else "is not that of the key"
            raise ConfigurationError(f"kafka.ssl_password {is_wrong}: {key} is encrypted") from None
        raise ConfigurationError(
            f"kafka.ssl_certfile: cannot use {kafka.ssl_certfile} with the key in {key}:"
            f" {_reason(error)}"
        ) from None
    return context


def _key_password(kafka: KafkaSettings) -> str | None:
    """Return the password of the key; None: there is none. Raises ConfigurationError."""
    if kafka.ssl_password_file is not None:
        return SecretFile("kafka.ssl_password_file", kafka.ssl_password_file).read()
    return None if kafka.ssl_password is None else kafka.ssl_password.get_secret_value()


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
