"""What both clients of a reader share: limits of a call, and checks that botocore leaves out."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

from botocore.exceptions import ChecksumError

#: Seconds before another attempt, at most: 1, 2, 4, ..., as in botocore's "standard" mode.
BACKOFF_S, BACKOFF_S_MAX = 1.0, 20.0


def attempts_max(client: Any) -> int:
    """How often a call is attempted: as the client is configured, or once where it is not."""
    return int((client.meta.config.retries or {}).get("total_max_attempts", 1))


def attempt_s_max(client: Any) -> float:
    """Seconds that an attempt takes at most: the client's time-out to connect, and twice the one to
    read. Its own time-outs cover neither a name's look-up nor an answer that drips."""
    config = client.meta.config
    return float(config.connect_timeout + 2 * config.read_timeout)


def backoff_s_max(attempt: int) -> float:
    """Seconds that a client waits at most behind its n-th attempt, counted from 1."""
    return min(BACKOFF_S_MAX, BACKOFF_S * 2.0 ** (attempt - 1))


def require_endpoint(client: Any) -> None:
    """Raises ValueError for an endpoint that cannot be called. botocore accepts some of those."""
    url = urlsplit(client.meta.endpoint_url)
    if url.scheme not in {"http", "https"}:
        raise ValueError(f"Invalid endpoint: {client.meta.endpoint_url}: neither http nor https")
    _ = url.port  # raises above 65535


def require_intact(content: bytes, headers: Mapping[str, str]) -> None:
    """Raises ChecksumError for the content of an answer that was damaged on the way."""
    wanted = headers.get("x-amz-crc32")
    if wanted is not None and crc32(content) != int(wanted):
        raise ChecksumError(
            checksum_type="crc32", expected_checksum=wanted, actual_checksum=crc32(content)
        )
