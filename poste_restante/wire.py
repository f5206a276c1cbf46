"""Checks of an endpoint and of an answer, which botocore leaves out. Both clients make them."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

from botocore.exceptions import ChecksumError


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
