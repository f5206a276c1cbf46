"""Limits and checks of a call, which both clients of a reader share."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

from botocore.exceptions import ChecksumError

#: Maximum seconds before another attempt: 1, 2, 4, ..., as in botocore's "standard" mode.
BACKOFF_S, BACKOFF_S_MAX = 1.0, 20.0


def attempts_max(client: Any) -> int:
    """Return the attempts of a call, as the client is configured, by default one."""
    return int((client.meta.config.retries or {}).get("total_max_attempts", 1))


def attempt_s_max(client: Any) -> float:
    """Return the seconds of an attempt at most: the client's time-out to connect, and twice the one
    to read. These time-outs cover neither a name's look-up nor an answer that drips."""
    config = client.meta.config
    return float(config.connect_timeout + 2 * config.read_timeout)


def backoff_s_max(attempt: int) -> float:
    """Return the longest wait in seconds after a client's n-th attempt, counted from 1."""
    return min(BACKOFF_S_MAX, BACKOFF_S * 2.0 ** (attempt - 1))


def require_endpoint(client: Any) -> None:
    """Raise ValueError for an unusable endpoint. botocore accepts some of those."""
    url = urlsplit(client.meta.endpoint_url)
    if url.scheme not in {"http", "https"}:
        raise ValueError(f"Invalid endpoint: {client.meta.endpoint_url}: neither http nor https")
    _ = url.port  # raises above 65535


def require_intact(content: bytes, headers: Mapping[str, str]) -> None:
    """Raise ChecksumError if an answer's content was damaged on the way."""
    wanted = headers.get("x-amz-crc32")
    if wanted is not None and crc32(content) != int(wanted):
        raise ChecksumError(
            checksum_type="crc32", expected_checksum=wanted, actual_checksum=crc32(content)
        )
