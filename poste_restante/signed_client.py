"""Calls on an aiobotocore client without what it does around each: a reader's three, and the base
of the worker's one.

botocore checks and serializes a call's arguments, and reads its answer, with the model of the
service beside them; a dozen events and an endpoint looked up by rules come on top, and cost more
processor time than the call. Our calls are JSON as they stand, and an answer is JSON but for its
binary values. What is left is botocore's signature, the client's own connections, time-outs and
errors, botocore's parser for refusals, and retries as the client is set to. What that saves stands
in benchmarks/README.md.
"""

import asyncio
import json
import random
from base64 import b64encode
from binascii import a2b_base64
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

from aiobotocore.parsers import create_parser
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.exceptions import ChecksumError, ClientError

from poste_restante.credentials import CredentialsError, CredentialsFault
from poste_restante.retryable_errors import UNREACHABLE, is_failing, is_throttled, is_unsigned

#: From this status on botocore takes an answer for an error.
_ERROR_STATUS_MIN = 300
#: Seconds before another attempt: at random up to 1, 2, 4, ..., as botocore's "standard" mode.
_BACKOFF_S, _BACKOFF_S_MAX = 1.0, 20.0


def require_endpoint(client: Any) -> None:
    """Raises ValueError where the client's endpoint cannot be called, which botocore lets pass."""
    url = urlsplit(client.meta.endpoint_url)
    if url.scheme not in {"http", "https"}:
        raise ValueError(f"Invalid endpoint: {client.meta.endpoint_url}: neither http nor https")
    _ = url.port  # raises above 65535


class SignedCalls:
    """Signed requests, one attempt each, over a client's own connections.

    client: aiobotocore's. credentials: of its session (`credentials.Credentials`).
    An attempt takes at most the client's time-out to connect, and twice the one to read: until the
    answer begins, and until it is whole.
    """

    def __init__(self, client: Any, credentials: Any) -> None:
        self._client = client
        self.credentials = credentials
        self._where: tuple[str, str] | None = None
        meta = client.meta
        # The client's own time-outs know neither the look-up of a name nor an answer that drips.
        self._limit_s = meta.config.connect_timeout + 2 * meta.config.read_timeout
        # Not public: its connections, time-outs, proxies, certificates.
        self._session = client._endpoint.http_session  # noqa: SLF001
        self._model = meta.service_model
        self._target = self._model.metadata["targetPrefix"]
        self._headers = {
            "Content-Type": f"application/x-amz-json-{self._model.metadata['jsonVersion']}",
            "User-Agent": meta.config.user_agent or "botocore",
        }
        self._parser = create_parser(self._model.resolved_protocol)

    async def attempt(self, operation: str, body: bytes, *, parse: bool) -> Any:
        """What is answered to a call. parse: as botocore has it; else the body as it came, checked.

        Raises what the client raises: for an answer that was damaged, and for a refusal.
        TimeoutError: the attempt took too long in all.
        """
        request = await self._signed(operation, body)
        async with asyncio.timeout(self._limit_s):
            answer = await self._session.send(request)
            content: bytes = await answer.content
        _check(content, answer.headers.get("x-amz-crc32"))
        refused = answer.status_code >= _ERROR_STATUS_MIN
        if not (parse or refused):
            return content
        parsed = await self._parser.parse(
            {"status_code": answer.status_code, "headers": answer.headers, "body": content},
            self._model.operation_model(operation).output_shape,
        )
        if refused:
            # Of a condition that failed: botocore's endpoint, not its parser, adds it.
            parsed |= _refused_item(content)
            kind = self._client.exceptions.from_code(parsed.get("Error", {}).get("Code"))
            raise kind(parsed, operation)
        return parsed

    async def _signed(self, operation: str, body: bytes) -> AWSPreparedRequest:
        frozen = await self.credentials.get_frozen_credentials()  # renewed where they expire
        if self._where is None:
            self._where = await self._resolved()
        url, region = self._where
        headers = {"X-Amz-Target": f"{self._target}.{operation}", **self._headers}
        request = AWSRequest("POST", url, headers, body)
        SigV4Auth(frozen, "dynamodb", region).add_auth(request)
        return AWSPreparedRequest("POST", url, request.headers, body, stream_output=False)

    async def _resolved(self) -> tuple[str, str]:
        """Where the client calls, and the region that it signs for.

        By the service's rules, not public either: `meta.endpoint_url` does not know them, and they
        have exceptions (FIPS in us-gov-west-1, the region "local").
        """
        meta = self._client.meta
        context: dict[str, Any] = {"client_region": meta.region_name, "client_config": meta.config}
        url, _, _ = await self._client._resolve_endpoint_ruleset(  # noqa: SLF001
            self._model.operation_model("Query"), {}, context
        )
        return url.rstrip("/") + "/", context.get("signing", {}).get("region", meta.region_name)


def _refused_item(content: bytes) -> dict[str, Any]:
    """The item that a refusal carries, as a member of its answer; empty: none."""
    try:
        item = decode_answer(content).get("Item")
    except (ValueError, AttributeError):  # a proxy's page, say
        return {}
    return {"Item": item} if item else {}


def _check(content: bytes, wanted: str | None) -> None:
    """Raises ChecksumError for an answer that was damaged on the way."""
    if wanted is not None and crc32(content) != int(wanted):
        raise ChecksumError(
            checksum_type="crc32", expected_checksum=wanted, actual_checksum=crc32(content)
        )


class DirectClient:
    """A client whose `query`, `update_item` and `batch_write_item` go directly.

    client, credentials: as `SignedCalls` has them. A call is made as often as the client is set to,
    `total_max_attempts`; once where it is not set. Ours are safe to repeat: they read, raise, or
    delete.
    """

    def __init__(self, client: Any, credentials: Any) -> None:
        self._client = client
        self._calls = SignedCalls(client, credentials)
        self._attempts = (client.meta.config.retries or {}).get("total_max_attempts", 1)

    async def query(self, **arguments: Any) -> Any:
        return await self._call("Query", arguments)

    async def update_item(self, **arguments: Any) -> Any:
        return await self._call("UpdateItem", arguments)

    async def batch_write_item(self, **arguments: Any) -> Any:
        return await self._call("BatchWriteItem", arguments)

    async def _call(self, operation: str, arguments: dict[str, Any]) -> Any:
        """The answer, as the client's. Raises what the client raises."""
        body = json.dumps(arguments, default=_base64).encode("ascii")
        for attempt in range(1, self._attempts):
            try:
                return await self._attempt(operation, body)
            except CredentialsError as error:
                if error.fault is CredentialsFault.CONFIGURATION:
                    raise
            except ClientError as error:
                if not (is_throttled(error) or is_failing(error) or is_unsigned(error)):
                    raise
            except UNREACHABLE:
                pass
            backoff_s = min(_BACKOFF_S_MAX, _BACKOFF_S * 2 ** (attempt - 1))
            await asyncio.sleep(random.uniform(0, backoff_s))
        return await self._attempt(operation, body)

    async def _attempt(self, operation: str, body: bytes) -> Any:
        return decode_answer(await self._calls.attempt(operation, body, parse=False))


def decode_answer(content: bytes) -> Any:
    """The answer that a body says, as botocore's. Raises ValueError for what is no JSON."""
    return json.loads(content or b"{}", object_hook=_decode_binary)


def _base64(content: bytes) -> str:
    return b64encode(content).decode("ascii")


def _decode_binary(value: dict[str, Any]) -> dict[str, Any]:
    """An attribute value of type B or BS with bytes for its base64; any other object as it is.

    An attribute that is itself named "B" holds an attribute value, which is an object.
    """
    content = value.get("B")
    if type(content) is str:
        value["B"] = a2b_base64(content)
    elif "BS" in value and type(value["BS"]) is list:
        value["BS"] = [a2b_base64(each) for each in value["BS"]]
    return value
