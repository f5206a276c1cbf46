"""A direct call is the client's call: what is sent, what is made of each answer."""

import asyncio
import gc
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from zlib import crc32

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError

from tests.bundles import bundle_of
from tests.fault_proxy.wire import Answer, Request, read_request
from tests.records import message
from worker.cli.deadline_store import DeadlineStore
from worker.dynamodb.coalescing import CoalescingClient
from worker.dynamodb.encoding import PreparedWrite, encode_put
from worker.dynamodb.prepared_client import DirectClient
from worker.dynamodb.store import Store, open_store
from worker.errors import OperatorError

WRITE = PreparedWrite("mailboxes", [encode_put(bundle_of(message(7)))])
LEFT = b'{"UnprocessedItems":{"mailboxes":[{"PutRequest":{"Item":{"b":{"B":"aGVsbG8="}}}}]}}'


def refusal(code: str, text: str = "no") -> bytes:
    name = f'"com.amazonaws.dynamodb.v20120810#{code}"'
    return f'{{"__type":{name},"message":"{text}"}}'.encode()


def damaged(body: bytes) -> Answer:
    return Answer(200, {"x-amz-crc32": str(crc32(body) ^ 1)}, body)


ANSWERS = {
    "nothing left": Answer.of(200, b'{"UnprocessedItems":{}}'),
    "something left": Answer.of(200, LEFT),
    "without a checksum": Answer(200, {}, LEFT),
    "capacity": Answer.of(200, b'{"ConsumedCapacity":[{"CapacityUnits":2.5}]}'),
    "empty object": Answer.of(200, b"{}"),
    "empty": Answer.of(200, b""),
    "null": Answer.of(200, b"null"),
    "a list": Answer.of(200, b"[]"),
    "another shape": Answer.of(200, b'{"UnprocessedItems":[1]}'),
    "cut off": Answer.of(200, LEFT[:30]),
    "no JSON": Answer.of(200, b"<html>"),
    "damaged": damaged(LEFT),
    "throttled": Answer.of(400, refusal("ProvisionedThroughputExceededException")),
    "refused": Answer.of(400, refusal("ValidationException", "Item size has exceeded")),
    "no table": Answer.of(400, refusal("ResourceNotFoundException")),
    "new to us": Answer.of(400, refusal("SomethingNewException")),
    "cut off refusal": Answer.of(400, refusal("ThrottlingException")[:20]),
    "nameless": Answer.of(400, b""),
    "redirected": Answer.of(301, b""),
    "too large": Answer.of(413, b"", "text/html"),
    "broken": Answer.of(500, refusal("InternalServerError")),
    "away": Answer.of(503, b"<html>away</html>", "text/html"),
}


class Endpoint:
    """Answers every call with `answer`; None: it ends the connection. asked: what it was asked.

    drip_s: seconds from one to the next of an answer's last bytes, as a line that is nearly dead
    lets them through.
    """

    def __init__(self) -> None:
        self.answer: Answer | None = ANSWERS["nothing left"]
        self.asked: list[Request] = []
        self.drip_s = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await read_request(reader):
            self.asked.append(request)
            if self.answer is None:
                break
            answer = self.answer.encode()
            whole = len(answer) if not self.drip_s else len(answer) - 20
            writer.write(answer[:whole])
            for byte in answer[whole:]:
                await asyncio.sleep(self.drip_s)
                if writer.is_closing():  # whoever asked has left
                    break
                writer.write(bytes([byte]))
        writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Endpoint, str]]:
    endpoint = Endpoint()
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
    async with server:
        yield endpoint, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def opened(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Endpoint, DirectClient]]:
    """The worker's client, and the endpoint that it calls."""
    async with listening() as (endpoint, address):
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", address)
        async with open_store() as store:
            assert isinstance(store._client, CoalescingClient)
            direct = store._client._client._client  # of the SDK's client, opened by now
            assert isinstance(direct, DirectClient)
            yield endpoint, direct


async def outcome(client: DirectClient, *, directly: bool) -> object:
    """What a call comes to, for comparison."""
    try:
        if directly:
            answer = await client.batch_write_item(RequestItems=WRITE)
        else:
            answer = await client._client.batch_write_item(RequestItems=dict(WRITE))
    except ClientError as error:
        answer = dict(error.response)
        return type(error), answer.pop("Error"), answer["ResponseMetadata"]["HTTPStatusCode"]
    except Exception as error:
        return type(error)
    answer["ResponseMetadata"].pop("RetryAttempts", None)
    return answer


async def test_an_answer_is_what_the_client_makes_of_it(
    opened: tuple[Endpoint, DirectClient],
) -> None:
    """Or raises what the client raises, so that it is classified as before (G1, G9)."""
    endpoint, client = opened
    for name, answer in {**ANSWERS, "ended": None}.items():
        endpoint.answer = answer
        theirs = await outcome(client, directly=False)
        assert (name, await outcome(client, directly=True)) == (name, theirs)
    assert len(endpoint.asked) >= 2 * len(ANSWERS)


async def test_a_call_is_signed_and_addressed_as_the_clients(
    opened: tuple[Endpoint, DirectClient],
) -> None:
    """The headers are the client's, but for those that count its retries (G1)."""
    endpoint, client = opened
    await outcome(client, directly=False)
    await outcome(client, directly=True)
    theirs, ours = (dict(request.headers) for request in endpoint.asked)

    counting = {"amz-sdk-invocation-id", "amz-sdk-request"}
    assert theirs.keys() - ours.keys() == counting
    assert ours.keys() <= theirs.keys()
    signatures = [headers.pop("authorization").split(", ") for headers in (theirs, ours)]
    assert signatures[0][0] == signatures[1][0]  # algorithm, key, day, region, service
    for headers in (theirs, ours):
        del headers["x-amz-date"], headers["content-length"]
    assert {name: theirs[name] for name in ours} == ours
    assert endpoint.asked[1].body == WRITE.body()
    assert endpoint.asked[0].path == endpoint.asked[1].path


async def test_a_budget_asks_what_a_direct_call_consumed(
    opened: tuple[Endpoint, DirectClient],
) -> None:
    """The body has the member that the client would have made of it (G8)."""
    endpoint, client = opened
    asked = {"ReturnConsumedCapacity": "TOTAL"}
    await client._client.batch_write_item(RequestItems=dict(WRITE), **asked)
    await client.batch_write_item(RequestItems=WRITE, **asked)
    theirs, ours = (json.loads(request.body) for request in endpoint.asked)

    assert ours == theirs
    assert ours["ReturnConsumedCapacity"] == "TOTAL"


@pytest.mark.parametrize(
    ("region", "fips"),
    [("eu-central-1", "false"), ("eu-central-1", "true"), ("us-gov-west-1", "true"),
     ("cn-north-1", "false"), ("local", "false")],
)  # fmt: skip
async def test_a_direct_call_goes_where_the_clients_goes(
    monkeypatch: pytest.MonkeyPatch, region: str, fips: str
) -> None:
    """Also where the service's rules have an exception: to another address, or signed for another
    region, it would wait for ever, or write into another store (G1)."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", fips)
    sent = []
    async with open_store(coalesce_s=0) as store:
        direct = store._client._client

        async def send(request: Any) -> None:
            authorization = str(request.headers["authorization"])
            sent.append((request.url, re.findall(r"Credential=[^/]+/\d+/([^,]+)", authorization)))
            raise OSError("not sent")

        monkeypatch.setattr(direct._client._endpoint.http_session, "send", send)
        for client, write in ((direct._client, dict(WRITE)), (direct, WRITE)):
            with pytest.raises(OSError, match="not sent"):
                await client.batch_write_item(RequestItems=write)

    theirs, ours = sent
    assert ours == theirs


class Renewed:
    """Credentials that are other ones each time they are asked for."""

    count = 0

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        self.count += 1
        return ReadOnlyCredentials(f"key-{self.count}", "secret", f"token-{self.count}")


async def test_each_call_is_signed_with_the_credentials_of_its_time(
    opened: tuple[Endpoint, DirectClient],
) -> None:
    """Those of a role are renewed while the worker runs, or an hour later it ends (G9)."""
    endpoint, client = opened
    client._calls.credentials = Renewed()
    for _ in range(2):
        await client.batch_write_item(RequestItems=WRITE)

    signed = [request.headers["authorization"] for request in endpoint.asked]
    assert ["Credential=key-1/" in signed[0], "Credential=key-2/" in signed[1]] == [True, True]
    tokens = [request.headers["x-amz-security-token"] for request in endpoint.asked]
    assert tokens == ["token-1", "token-2"]


FAILING = ["throttled", "broken", "damaged", "nameless", "ended", "nobody listens"]


@pytest.mark.parametrize("coalesce_s", [0, 0.001])
@pytest.mark.parametrize("name", ["nothing left", *FAILING])
async def test_an_attempt_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, name: str, coalesce_s: float
) -> None:
    """The collector of circles comes by rarely, and each attempt has a megabyte: an outage would
    fill the memory (G8)."""
    async with listening() as (endpoint, address):
        endpoint.answer = ANSWERS.get(name)
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            nobody = f"http://127.0.0.1:{deaf.getsockname()[1]}"
            monkeypatch.setenv(
                "AWS_ENDPOINT_URL_DYNAMODB", nobody if name == "nobody listens" else address
            )
            await leaves_nothing(coalesce_s)


async def leaves_nothing(coalesce_s: float) -> None:
    """After ten attempts of two calls, without the collector."""
    async with open_store(coalesce_s=coalesce_s) as store:
        gc.collect()
        gc.disable()
        try:
            before = held()
            for _ in range(10):
                await asyncio.gather(attempt(store), attempt(store))
            assert held() <= before + 2
        finally:
            gc.enable()


def held() -> int:
    """Objects that hold the bytes of a call."""
    return sum(type(each) in {AWSPreparedRequest, PreparedWrite} for each in gc.get_objects())


async def attempt(store: Store) -> None:
    """One attempt of a call, whether it is enough or not."""

    async def sleep(_: float) -> None:
        raise EOFError

    store.sleep = sleep
    with suppress(EOFError):
        await store.call("batch_write_item", RequestItems=WRITE)


async def test_missing_credentials_are_the_operators_on_a_direct_call_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Said when the store is opened (G9)."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(OperatorError, match="cannot call DynamoDB"):
        async with open_store(kind=DeadlineStore):
            pass
