"""The worker's client against the SDK's own: what is sent, what is made of each answer."""

import asyncio
import gc
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import aioboto3
import pytest
from aiobotocore.httpsession import AIOHTTPSession
from botocore.awsrequest import AWSPreparedRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError

from poste_restante.credentials import Credentials
from poste_restante.item import from_json
from poste_restante.retryable_errors import throttling_reasons
from poste_restante.signed_client import SignedClient
from poste_restante.table import TABLE_SCHEMA
from tests.bundles import bundle_of
from tests.fault_proxy.wire import Answer, Request, read_request
from tests.records import message
from worker.cli.deadline_store import DeadlineStore
from worker.dynamodb.client import DynamoDBClient
from worker.dynamodb.coalescing import PendingWrite
from worker.dynamodb.errors import meaning
from worker.dynamodb.puts import PutResult, body_of, encode_put, result_of
from worker.dynamodb.retrying_store import TIMEOUT_S, RetryingStore, client_config, open_store
from worker.errors import OperatorError

TABLE = "mailboxes"
PUTS = [encode_put(bundle_of(message(7)))]
REQUESTS = [from_json(put.json) for put in PUTS]
LEFT = f'{{"UnprocessedItems":{{"mailboxes":[{PUTS[0].json}]}}}}'.encode()


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


@dataclass
class Both:
    """Our client and the SDK's own, and the endpoint that they call."""

    endpoint: Endpoint
    ours: DynamoDBClient
    theirs: Any

    async def put(self, *, count_units: bool = False) -> PutResult:
        """By ours."""
        return await self.ours.put(TABLE, PUTS, count_units=count_units)

    async def batch_write(self, **units: str) -> PutResult:
        """The same by the SDK's."""
        answer = await self.theirs.batch_write_item(RequestItems={TABLE: REQUESTS}, **units)
        return result_of(answer, TABLE, PUTS)


@pytest.fixture
async def both(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Both]:
    async with listening() as (endpoint, address), AsyncExitStack() as opened:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", address)
        yield await open_both(endpoint, opened)


async def open_both(endpoint: Endpoint, opened: AsyncExitStack) -> Both:
    config = client_config(calls_in_flight_max=2, timeout_s=TIMEOUT_S)
    ours = DynamoDBClient(config)
    opened.push_async_callback(ours.stop)
    await ours.start()
    theirs = aioboto3.Session().client("dynamodb", config=config)
    return Both(endpoint, ours, await opened.enter_async_context(theirs))


async def outcome(call: Awaitable[PutResult]) -> object:
    """What a store makes of a call, for comparison."""
    try:
        return await call
    except ClientError as error:
        answer = dict(error.response)
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        return type(error).__name__, answer.pop("Error"), status
    except Exception as error:
        return type(meaning(error, "batch_write_item"))


async def test_an_answer_means_what_the_sdks_client_makes_of_it(both: Both) -> None:
    """A result, a refusal, or a reason to wait (G1, G9)."""
    for name, answer in {**ANSWERS, "ended": None}.items():
        both.endpoint.answer = answer
        theirs = await outcome(both.batch_write())
        assert (name, await outcome(both.put())) == (name, theirs)
    assert len(both.endpoint.asked) >= 2 * len(ANSWERS)


async def test_a_put_is_signed_and_addressed_as_the_sdks(both: Both) -> None:
    """The headers are the SDK's, but for those that count its retries (G1)."""
    await both.batch_write()
    await both.put()
    theirs, ours = (dict(request.headers) for request in both.endpoint.asked)

    counting = {"amz-sdk-invocation-id", "amz-sdk-request"}
    assert theirs.keys() - ours.keys() == counting
    assert ours.keys() <= theirs.keys()
    signatures = [headers.pop("authorization").split(", ") for headers in (theirs, ours)]
    assert signatures[0][0] == signatures[1][0]  # algorithm, key, day, region, service
    for headers in (theirs, ours):
        del headers["x-amz-date"], headers["content-length"]
    assert {name: theirs[name] for name in ours} == ours
    assert both.endpoint.asked[0].path == both.endpoint.asked[1].path


async def test_a_put_is_sent_as_it_stands(both: Both) -> None:
    """Byte for byte; the SDK sends the same, but for spaces (G1)."""
    await both.batch_write()
    await both.put()
    theirs, ours = (request.body for request in both.endpoint.asked)

    assert ours == body_of(TABLE, PUTS)
    assert json.loads(ours) == json.loads(theirs)


async def test_a_budget_asks_for_the_consumed_units(both: Both) -> None:
    """The body has the member that the SDK would have made of it (G8)."""
    both.endpoint.answer = Answer.of(
        200, b'{"UnprocessedItems":{},"ConsumedCapacity":[{"CapacityUnits":2.5}]}'
    )
    await both.batch_write(ReturnConsumedCapacity="TOTAL")
    result = await both.put(count_units=True)
    theirs, ours = (json.loads(request.body) for request in both.endpoint.asked)

    assert ours == theirs
    assert ours["ReturnConsumedCapacity"] == "TOTAL"
    assert result.write_units == 2.5


async def test_every_other_call_goes_through_the_sdk(both: Both) -> None:
    """With the same arguments, and answered by it (G1)."""
    both.endpoint.answer = Answer.of(200, b"{}")
    ours = both.ours
    key = {"user_id": {"S": "bob"}, "position": {"S": "!"}}
    await ours.get_item(TableName=TABLE, Key=key)
    await ours.put_item(TableName=TABLE, Item=key)
    await ours.update_item(TableName=TABLE, Key=key)
    await ours.create_table(TableName=TABLE, **TABLE_SCHEMA)
    await ours.describe_table(TableName=TABLE)
    await ours.describe_time_to_live(TableName=TABLE)
    await ours.update_time_to_live(
        TableName=TABLE, TimeToLiveSpecification={"Enabled": True, "AttributeName": "x"}
    )

    asked = [str(each.headers["x-amz-target"]).split(".")[1] for each in both.endpoint.asked]
    assert asked == [
        "GetItem", "PutItem", "UpdateItem", "CreateTable", "DescribeTable", "DescribeTimeToLive",
        "UpdateTimeToLive",
    ]  # fmt: skip


class Observer:
    """Keeps what it learns."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, object]] = []

    def attempted(
        self, operation: str, seconds: float, outcome: Exception | PutResult | dict[str, Any]
    ) -> None:
        assert seconds >= 0
        self.attempts.append((operation, outcome))


async def test_an_observer_learns_of_every_attempt_that_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of its result with the consumed units, and of its error with DynamoDB's reasons."""
    async with listening() as (endpoint, address), AsyncExitStack() as opened:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", address)
        observer = Observer()
        client = DynamoDBClient(client_config(calls_in_flight_max=2, timeout_s=TIMEOUT_S), observer)
        opened.push_async_callback(client.stop)
        await client.start()

        endpoint.answer = Answer.of(
            200, b'{"UnprocessedItems":{},"ConsumedCapacity":[{"CapacityUnits":2.5}]}'
        )
        result = await client.put(TABLE, PUTS)
        assert json.loads(endpoint.asked[-1].body)["ReturnConsumedCapacity"] == "TOTAL"
        endpoint.answer = Answer.of(200, b'{"Item":{}}')
        await client.get_item(TableName=TABLE, Key={})
        endpoint.answer = throttled("TableWriteKeyRangeThroughputExceeded")
        for call in (client.put(TABLE, PUTS), client.put_item(TableName=TABLE, Item={})):
            with pytest.raises(ClientError):
                await call

    (put, read, *refused) = observer.attempts
    assert put == ("BatchWriteItem", result)
    assert (result.write_units, read[0]) == (2.5, "GetItem")
    assert [operation for operation, _ in refused] == ["BatchWriteItem", "PutItem"]
    for _, error in refused:
        assert isinstance(error, ClientError)
        assert throttling_reasons(error) == ["TableWriteKeyRangeThroughputExceeded"]


def throttled(reason: str) -> Answer:
    """A throttled call, as DynamoDB answers it (API reference, ThrottlingReason)."""
    body = {
        "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
        "message": "Throughput exceeds the current capacity of your table",
        "ThrottlingReasons": [{"reason": reason, "resource": "arn:aws:dynamodb:::table/t"}],
    }
    return Answer.of(400, json.dumps(body).encode())


async def test_a_call_before_the_start_is_our_own_fault() -> None:
    """It says so (G9)."""
    client = DynamoDBClient(client_config(calls_in_flight_max=1, timeout_s=TIMEOUT_S))
    with pytest.raises(RuntimeError, match="before its start"):
        await client.put(TABLE, PUTS)


@pytest.mark.parametrize(
    ("region", "fips"),
    [("eu-central-1", "false"), ("eu-central-1", "true"), ("us-gov-west-1", "true"),
     ("cn-north-1", "false"), ("local", "false")],
)  # fmt: skip
async def test_a_put_goes_where_the_sdks_goes(
    monkeypatch: pytest.MonkeyPatch, region: str, fips: str
) -> None:
    """Also where the service's rules have an exception: to another address, or signed for another
    region, it would wait for ever, or write into another store (G1)."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", fips)
    sent = []

    async def send(_: Any, request: Any) -> None:
        authorization = str(request.headers["authorization"])
        sent.append((request.url, re.findall(r"Credential=[^/]+/\d+/([^,]+)", authorization)))
        raise OSError("not sent")

    monkeypatch.setattr(AIOHTTPSession, "send", send)
    async with AsyncExitStack() as opened:
        both = await open_both(Endpoint(), opened)
        for call in (both.batch_write(), both.put()):
            with pytest.raises(OSError, match="not sent"):
                await call

    theirs, ours = sent
    assert ours == theirs


class Renewed:
    """Credentials that are other ones each time they are asked for."""

    count = 0

    async def get_credentials(self) -> "Renewed":
        return self

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        self.count += 1
        return ReadOnlyCredentials(f"key-{self.count}", "secret", f"token-{self.count}")


async def test_each_call_is_signed_with_the_credentials_of_its_time(both: Both) -> None:
    """Those of a role are renewed while the worker runs, or an hour later it ends (G9)."""
    client = SignedClient(both.theirs, Credentials(Renewed()))
    for _ in range(2):
        await client.send("BatchWriteItem", body_of(TABLE, PUTS))

    asked = both.endpoint.asked
    signed = [request.headers["authorization"] for request in asked]
    assert ["Credential=key-1/" in signed[0], "Credential=key-2/" in signed[1]] == [True, True]
    tokens = [request.headers["x-amz-security-token"] for request in asked]
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
    return sum(type(each) in {AWSPreparedRequest, PendingWrite} for each in gc.get_objects())


async def attempt(store: RetryingStore) -> None:
    """One attempt of a call, whether it is enough or not."""

    async def sleep(_: float) -> None:
        raise EOFError

    store.sleep = sleep
    with suppress(EOFError):
        await store.put(TABLE, PUTS)


async def test_missing_credentials_are_the_operators(
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
