"""BatchWriteItem on an aiobotocore client, with a body that is made already.

What the client does around each call (a dozen events, an endpoint looked up by rules, headers put
together, the answer read twice) costs more processor time than the call. Here is what is left when
all that is the same every time: botocore's signature, the client's own connections with their
errors, botocore's parser. Retries are the Store's own in any case. What that saves stands in
benchmarks/README.md.
"""

from collections.abc import Mapping
from typing import Any
from zlib import crc32

from aiobotocore.parsers import create_parser
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.exceptions import ChecksumError, NoCredentialsError

from worker.wire import PreparedWrite

_OPERATION = "BatchWriteItem"
#: From this status on botocore takes an answer for an error.
_ERROR_STATUS_MIN = 300


class DirectClient:
    """A client whose prepared calls go directly; every other one as before.

    client: aiobotocore's. credentials: of its session; None: there are none, which a call raises.
    """

    def __init__(self, client: Any, credentials: Any) -> None:
        self._client = client
        self._credentials = credentials
        meta = client.meta
        self._region = meta.region_name
        self._url = meta.endpoint_url.rstrip("/") + "/"
        # The one name that is not public: its connections, time-outs, proxies, certificates.
        self._session = client._endpoint.http_session  # noqa: SLF001
        model = meta.service_model
        self._headers = {
            "X-Amz-Target": f"{model.metadata['targetPrefix']}.{_OPERATION}",
            "Content-Type": f"application/x-amz-json-{model.metadata['jsonVersion']}",
            "User-Agent": meta.config.user_agent or "botocore",
        }
        self._answer_shape = model.operation_model(_OPERATION).output_shape
        self._parser = create_parser(model.resolved_protocol)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def batch_write_item(
        self,
        *,
        RequestItems: Mapping[str, Any],  # noqa: N803
        **consumed: str,
    ) -> Any:
        """As the client's. consumed: ReturnConsumedCapacity. Raises what the client raises."""
        if not isinstance(RequestItems, PreparedWrite):
            return await self._client.batch_write_item(RequestItems=RequestItems, **consumed)
        answer = await self._session.send(await self._signed(RequestItems.body(**consumed)))
        content = await answer.content
        _check(content, answer.headers.get("x-amz-crc32"))
        parsed = await self._parser.parse(
            {"status_code": answer.status_code, "headers": answer.headers, "body": content},
            self._answer_shape,
        )
        if answer.status_code >= _ERROR_STATUS_MIN:
            kind = self._client.exceptions.from_code(parsed.get("Error", {}).get("Code"))
            raise kind(parsed, _OPERATION)
        return parsed

    async def _signed(self, body: bytes) -> AWSPreparedRequest:
        if self._credentials is None:
            raise NoCredentialsError
        frozen = await self._credentials.get_frozen_credentials()  # renewed where they expire
        request = AWSRequest("POST", self._url, self._headers, body)
        SigV4Auth(frozen, "dynamodb", self._region).add_auth(request)
        return AWSPreparedRequest("POST", self._url, request.headers, body, stream_output=False)


def _check(content: bytes, wanted: str | None) -> None:
    """Raises ChecksumError for an answer that was damaged on the way."""
    if wanted is not None and crc32(content) != int(wanted):
        raise ChecksumError(
            checksum_type="crc32", expected_checksum=wanted, actual_checksum=crc32(content)
        )
