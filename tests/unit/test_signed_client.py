"""A reader's direct call is the client's call: what is sent, and what is made of each answer."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aioboto3
import pytest
from aiobotocore.parsers import create_parser
from botocore.loaders import Loader
from botocore.model import ServiceModel
from hypothesis import given
from hypothesis import strategies as st

from poste_restante import MailboxError, StoreUnavailable, open_mailboxes
from poste_restante.credentials import Credentials, CredentialsError
from poste_restante.item import Attribute, Item, encode_bundle, from_json
from poste_restante.mailboxes import TIMEOUT_S, reader_config
from poste_restante.reader_client import PublicClient
from poste_restante.signed_client import SignedClient
from poste_restante.store import DynamoDBMailboxStore
from poste_restante.table import TableRecord
from tests.fault_proxy.wire import Answer
from tests.records import TOPIC, message
from tests.unit.test_dynamodb_client import ANSWERS, Endpoint, damaged, listening, refusal

ATTRIBUTES = st.recursive(
    st.one_of(
        st.binary(max_size=9).map(lambda content: {"B": content}),
        st.text(max_size=9).map(lambda content: {"S": content}),
        st.integers().map(lambda content: {"N": str(content)}),
        st.just({"NULL": True}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda content: {"L": content}),
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(lambda content: {"M": content}),
    ),
)

MODEL = ServiceModel(Loader().load_service_model("dynamodb", "service-2"))
PARSER = create_parser(MODEL.resolved_protocol)
RECORD = TableRecord(table_id="table-1", topic=TOPIC, partitions=12, epoch=1).encode()
QUERY: dict[str, Any] = {
    "TableName": "mailboxes", "ConsistentRead": True, "Limit": 7,
    "KeyConditionExpression": "user_id = :user",
    "ExpressionAttributeValues": {":user": {"S": "bób \U0001f4ec"}},
    "ExclusiveStartKey": {"user_id": {"S": "bób"}, "position": {"S": "!"}},
}  # fmt: skip
UPDATE: dict[str, Any] = {
    "TableName": "mailboxes", "Key": {"user_id": {"S": "bob"}, "position": {"S": "!"}},
    "UpdateExpression": "SET #log = :offset", "ReturnValues": "UPDATED_NEW",
    "ExpressionAttributeNames": {"#log": "0001.00003"},
    "ExpressionAttributeValues": {":offset": {"N": "7"}},
}  # fmt: skip
DELETE: dict[str, Any] = {
    "RequestItems": {"mailboxes": [{"DeleteRequest": {"Key": {"user_id": {"S": "bob"}}}}]},
}
PUT: dict[str, Any] = {
    "RequestItems": {"mailboxes": [{"PutRequest": {"Item": encode_bundle([message(7)], TOPIC)}}]},
}
CALLS = [("query", QUERY), ("update_item", UPDATE), ("batch_write_item", DELETE),
         ("batch_write_item", PUT)]  # fmt: skip


def on_the_wire(value: Attribute) -> Attribute:
    ((kind, content),) = value.items()
    if kind == "B":
        return {kind: b64encode(content).decode()}
    if kind == "L":
        return {kind: [on_the_wire(each) for each in content]}
    if kind == "M":
        return {kind: {name: on_the_wire(each) for name, each in content.items()}}
    return {kind: content}


def page(*items: Item, **more: Any) -> bytes:
    """The body of a Query's answer."""
    found = [{name: on_the_wire(value) for name, value in item.items()} for item in items]
    return json.dumps({"Count": len(items), "Items": found, **more}).encode()


BINARY_SETS = st.lists(st.binary(max_size=5), max_size=3).map(
    lambda contents: {"BS": [b64encode(content).decode() for content in contents]}
)
NAMES = st.sampled_from(["B", "BS", "M", "L", "S", "user_id", "messages"]) | st.text(max_size=3)


@given(st.lists(st.dictionaries(NAMES, ATTRIBUTES | BINARY_SETS, max_size=4), max_size=3))
async def test_a_page_is_what_botocore_makes_of_it(items: list[Item]) -> None:
    """Also where attributes are named as types are (G2)."""
    body = page(*items, LastEvaluatedKey={"user_id": {"S": "bob"}, "position": {"S": "!"}})
    answer = {"status_code": 200, "headers": {}, "body": body}
    theirs = await PARSER.parse(answer, MODEL.operation_model("Query").output_shape)
    del theirs["ResponseMetadata"]

    assert from_json(body) == theirs


@dataclass
class Clients:
    """A gateway's clients of one attempt, the SDK's own, and the endpoint that they call."""

    endpoint: Endpoint
    sdk: Any
    signed: SignedClient
    public: PublicClient


@pytest.fixture
async def clients(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clients]:
    async with listening() as (endpoint, address):
        endpoint.answer = Answer.of(200, page(RECORD))
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", address)
        session = aioboto3.Session()
        credentials = Credentials(session)
        config = reader_config(timeout_s=TIMEOUT_S, attempts=1, connections=2)
        async with (
            session.client("dynamodb", config=config) as sdk,
            session.client("dynamodb", config=config) as other,
        ):
            yield Clients(
                endpoint, sdk, SignedClient(sdk, credentials), PublicClient(other, credentials)
            )


async def outcome(client: Any) -> object:
    """What a reader makes of a Query's answer, for comparison."""
    try:
        store = DynamoDBMailboxStore(client, "mailboxes", calls_in_flight_max=1)
        return await store.query("bob")
    except MailboxError as error:
        return type(error), getattr(error, "throttled", None)


SAID = {
    **ANSWERS,
    "a page": Answer.of(200, page(RECORD, encode_bundle([message(7)], TOPIC))),
    "null items": Answer.of(200, b'{"Items":null}'),
    "an item that is none": Answer.of(200, b'{"Items":[7]}'),
    "no base64": Answer.of(200, b'{"Items":[{"position":{"S":"!"},"b":{"B":"a"}}]}'),
    "condition": Answer.of(400, refusal("ConditionalCheckFailedException")),
}


async def test_an_answer_means_what_the_sdks_means(clients: Clients) -> None:
    """To the reader: items, an error that passes, or one that does not (G2, G9)."""
    for name, answer in {**SAID, "ended": None}.items():
        clients.endpoint.answer = answer
        theirs = await outcome(clients.sdk)
        assert (name, await outcome(clients.signed)) == (name, theirs)
        assert (name, await outcome(clients.public)) == (name, theirs)
    clients.endpoint.answer = damaged(page(RECORD))  # whose checksum the SDK's last attempt ignores
    for client in (clients.signed, clients.public):
        assert await outcome(client) == (StoreUnavailable, False)


@pytest.mark.parametrize(("operation", "arguments"), CALLS)
async def test_a_call_is_the_sdks(
    clients: Clients, operation: str, arguments: dict[str, Any]
) -> None:
    """The same body; the same headers, but for those that count its retries (G6)."""
    clients.endpoint.answer = ANSWERS["nothing left"]
    for client in (clients.sdk, clients.signed, clients.public):
        await getattr(client, operation)(**arguments)
    theirs, ours, public = clients.endpoint.asked

    assert public.body == theirs.body

    assert json.loads(ours.body) == json.loads(theirs.body)
    headers = [dict(theirs.headers), dict(ours.headers)]
    assert headers[0].keys() - headers[1].keys() == {"amz-sdk-invocation-id", "amz-sdk-request"}
    for each in headers:
        each["authorization"] = each["authorization"].split(", ")[0]
        del each["x-amz-date"], each["content-length"]
    assert {name: headers[0][name] for name in headers[1]} == headers[1]
    assert theirs.path == ours.path


PASSING = ["throttled", "broken", "away", "damaged"]


def no_delay(*_: object) -> float:
    return 0.0


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize(("attempts", "asked"), [(1, 1), (2, 2), (3, 3)])
async def test_what_passes_is_asked_again_as_often_as_said(
    monkeypatch: pytest.MonkeyPatch, attempts: int, asked: int, public: bool
) -> None:
    """And no more: a gateway's user waits at the other end (G8)."""
    if public:
        monkeypatch.delattr("poste_restante.signed_client.create_parser")
        monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", no_delay)
    monkeypatch.setattr("poste_restante.wire.BACKOFF_S", 0.0)
    async with listening() as (endpoint, address):
        endpoint.answer = Answer.of(200, page(RECORD))
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", address)
        async with open_mailboxes(attempts=attempts) as mailboxes:
            for answer in (*(ANSWERS[name] for name in PASSING), None):
                endpoint.answer = answer
                endpoint.asked.clear()
                with pytest.raises(StoreUnavailable):
                    await mailboxes.fetch("bob")
                assert len(endpoint.asked) == asked
            endpoint.answer = ANSWERS["refused"]
            endpoint.asked.clear()
            with pytest.raises(MailboxError, match="refuses"):
                await mailboxes.fetch("bob")
            assert len(endpoint.asked) == 1


async def test_an_answer_that_drips_is_given_up(clients: Clients) -> None:
    """Byte after byte comes before the time-out to read, and the answer never: the attempt has a
    limit of its own, of both time-outs (G8)."""
    signed, public = clients.signed, clients.public
    assert signed.attempt_s_max == public.call_s_max == TIMEOUT_S + 2 * TIMEOUT_S
    signed.attempt_s_max = public.call_s_max = 0.5
    clients.endpoint.drip_s = 0.2

    for client in (signed, public):
        assert await outcome(client) == (StoreUnavailable, False)
    await asyncio.sleep(2 * clients.endpoint.drip_s)  # until the endpoint has noticed


async def test_missing_credentials_are_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said at the first call (G9)."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(MailboxError, match="credentials") as caught:
        async with open_mailboxes():
            pass
    assert type(caught.value) is MailboxError
    assert isinstance(caught.value.__cause__, CredentialsError)
