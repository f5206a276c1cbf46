"""A DynamoDB client that signs and sends JSON itself, over the connections of aiobotocore's client.

The worker and the reader share it. botocore validates and serializes the arguments of a call, and
parses its answer, by the service's model. Its events and endpoint rules add more processor time
than the call itself. Our calls are JSON already, and an answer is JSON but for its binary values.
The signed client keeps botocore's signature, its parser for refusals, and the client's connections,
time-outs, errors and retry configuration. benchmarks/README.md has the savings.

It uses names of aiobotocore that are not public. `poste_restante.reader_client` checks them in a
gateway's environment.
"""

import asyncio
import inspect
import json
import random
from collections.abc import Callable
from typing import Any

from aiobotocore.parsers import create_parser
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.exceptions import ClientError

from poste_restante.credentials import Credentials, CredentialsError, CredentialsFault
from poste_restante.item import base64, from_json
from poste_restante.retryable_errors import (
    THROTTLING_MEMBERS,
    UNREACHABLE,
    is_failing,
    is_throttled,
    is_unsigned,
)
from poste_restante.wire import attempt_s_max, attempts_max, backoff_s_max, require_intact

#: Members of refusals that our calls use.
_REFUSAL_MEMBERS = ("Item", *THROTTLING_MEMBERS)
#: botocore treats an answer of this status, or a higher one, as an error.
_ERROR_STATUS_MIN = 300


class SignedClient:
    """`query`, `update_item` and `batch_write_item`, signed and sent directly.

    client: aiobotocore's. credentials: of its session. on_retry: called with the error of each
    refused attempt that is repeated.

    A call has as many attempts as the client is configured for (`total_max_attempts`), by default
    one. All three calls may be repeated: they read, raise a cursor, or delete. An attempt takes at
    most the client's time-out to connect and twice its time-out to read: until the answer begins,
    and until it is whole.
    """

    def __init__(
        self,
        client: Any,
        credentials: Credentials,
        on_retry: Callable[[ClientError], None] | None = None,
    ) -> None:
        self._client = client
        self._credentials = credentials
        self._on_retry = on_retry
        self._endpoint_region: tuple[str, str] | None = None
        meta = client.meta
        self.attempt_s_max = attempt_s_max(client)
        self._attempts = attempts_max(client)
        # Not public: connections, time-outs, proxies, certificates.
        self._session = client._endpoint.http_session  # noqa: SLF001
        self._model = meta.service_model
        self._target = self._model.metadata["targetPrefix"]
        self._headers = {
            "Content-Type": f"application/x-amz-json-{self._model.metadata['jsonVersion']}",
            "User-Agent": meta.config.user_agent or "botocore",
        }
        self._parser = create_parser(self._model.resolved_protocol)

    async def query(self, **arguments: Any) -> Any:
        return await self._call("Query", arguments)

    async def update_item(self, **arguments: Any) -> Any:
        return await self._call("UpdateItem", arguments)

    async def batch_write_item(self, **arguments: Any) -> Any:
        return await self._call("BatchWriteItem", arguments)

    async def _call(self, operation: str, arguments: dict[str, Any]) -> Any:
        """Return the answer. Raises as the client does."""
        body = json.dumps(arguments, default=base64).encode("ascii")
        for attempt in range(1, self._attempts):
            try:
                return await self.send(operation, body)
            except CredentialsError as error:
                if error.fault is CredentialsFault.CONFIGURATION:
                    raise
            except ClientError as error:
                if not (is_throttled(error) or is_failing(error) or is_unsigned(error)):
                    raise
                if self._on_retry is not None:
                    self._on_retry(error)
            except UNREACHABLE:
                pass
            await asyncio.sleep(random.uniform(0, backoff_s_max(attempt)))
        return await self.send(operation, body)

    async def send(self, operation: str, body: bytes) -> Any:
        """Return the answer to one attempt. body: the arguments, as DynamoDB's JSON.

        Raises as the client does: ClientError for a refusal, ChecksumError for a damaged answer.
        Raises TimeoutError for an attempt that takes too long, ValueError for an answer that is not
        JSON, and CredentialsError.
        """
        request = await self._sign(operation, body)
        async with asyncio.timeout(self.attempt_s_max):
            answer = await self._session.send(request)
            content: bytes = await answer.content
        require_intact(content, answer.headers)
        if answer.status_code < _ERROR_STATUS_MIN:
            return from_json(content or b"{}")
        parsed = await self._parser.parse(
            {"status_code": answer.status_code, "headers": answer.headers, "body": content},
            self._model.operation_model(operation).output_shape,
        )
        # botocore's endpoint, and not its parser, adds the members of a refusal.
        parsed |= _refusal_members(content)
        kind = self._client.exceptions.from_code(parsed.get("Error", {}).get("Code"))
        raise kind(parsed, operation)

    async def _sign(self, operation: str, body: bytes) -> AWSPreparedRequest:
        frozen = await self._credentials.get_frozen_credentials()  # renewed where they expire
        url, region = await self.resolve()
        headers = {"X-Amz-Target": f"{self._target}.{operation}", **self._headers}
        request = AWSRequest("POST", url, headers, body)
        SigV4Auth(frozen, "dynamodb", region).add_auth(request)
        return AWSPreparedRequest("POST", url, request.headers, body, stream_output=False)

    async def resolve(self) -> tuple[str, str]:
        """Return the URL of the client's calls, and the region of their signature. Does not
        connect.

        They come from the service's rules, which are not public either. `meta.endpoint_url` does
        not follow them, and they have exceptions (FIPS in us-gov-west-1, the region "local").
        """
        if self._endpoint_region is None:
            meta = self._client.meta
            context = {"client_region": meta.region_name, "client_config": meta.config}
            url, _, _ = await self._client._resolve_endpoint_ruleset(  # noqa: SLF001
                self._model.operation_model("Query"), {}, context
            )
            region = context.get("signing", {}).get("region", meta.region_name)
            self._endpoint_region = url.rstrip("/") + "/", region
        return self._endpoint_region


def _refusal_members(content: bytes) -> dict[str, Any]:
    """Return the members of a refusal: the item of a failed condition, the reasons of a throttled
    call."""
    try:
        answer = from_json(content)
        return {name: answer[name] for name in _REFUSAL_MEMBERS if answer.get(name)}
    except (ValueError, AttributeError):  # for example the page of a proxy
        return {}


def require_names(client: Any) -> None:
    """Raise AttributeError, ImportError or TypeError if a private name that is used here is missing
    or has another signature. client: aiobotocore's."""
    from aiobotocore.awsrequest import AioAWSResponse

    _require_call(client._endpoint.http_session.send, ["request"])  # noqa: SLF001
    resolve = client._resolve_endpoint_ruleset  # noqa: SLF001
    _require_call(resolve, ["operation_model", "params", "request_context"])
    _require_call(create_parser("json").parse, ["response", "shape"])
    if not isinstance(AioAWSResponse.content, property):
        raise TypeError("AioAWSResponse.content is not a property")


def _require_call(function: Any, names: list[str]) -> None:
    """Raise TypeError unless this is a coroutine function whose required parameters are these."""
    parameters = inspect.signature(function).parameters.values()
    required = [each.name for each in parameters if each.default is each.empty]
    if required != names or not inspect.iscoroutinefunction(function):
        raise TypeError(f"{function.__qualname__} is called otherwise")
