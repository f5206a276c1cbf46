"""What is written by hand is what botocore writes."""

import json
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.endpoint import Recorder, serving
from poste_restante.item import encode_bundle
from poste_restante.message import Message
from poste_restante.position import LogId
from tests.bundles import bundle_of, bundles, entries_of
from tests.records import TOPIC, message
from worker.bundles import Bundle
from worker.dynamodb.encoding import EncodedPut, PreparedWrite, encode_put
from worker.dynamodb.store import Store, open_store


@cache
def _model() -> Any:
    return botocore.session.get_session().get_service_model("dynamodb")


def as_botocore(table: str, items: list[Any]) -> Any:
    """What botocore sends for these items, read again."""
    requests = {"RequestItems": {table: [{"PutRequest": {"Item": item}} for item in items]}}
    operation = _model().operation_model("BatchWriteItem")
    made = create_serializer("json").serialize_to_request(requests, operation)
    return json.loads(made["body"])


@given(st.lists(bundles(), min_size=1, max_size=3), st.text(min_size=1, max_size=9))
def test_a_call_says_what_botocores_would(many: list[list[Message]], table: str) -> None:
    """Every member, in the same order, whatever records carry (G1)."""
    write = PreparedWrite(table, [encode_put(bundle_of(*messages)) for messages in many])
    items = [encode_bundle(messages, TOPIC) for messages in many]
    ours, theirs = json.loads(write.body()), as_botocore(table, items)

    assert ours == theirs
    assert json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)
    assert write.body().isascii()


@given(bundles())
def test_to_others_it_reads_as_any_other_call(messages: list[Message]) -> None:
    """Fakes and what stands between see items, not bytes (G1)."""
    item = encode_bundle(messages, TOPIC)
    write = PreparedWrite("mailboxes", [encode_put(bundle_of(*messages))])

    assert dict(write) == {"mailboxes": [{"PutRequest": {"Item": item}}]}


@given(bundles())
def test_a_put_is_known_by_the_key_of_its_item(messages: list[Message]) -> None:
    """What a store leaves over is found again by it (G1)."""
    item = encode_bundle(messages, TOPIC)

    assert encode_put(bundle_of(*messages)).key == (item["user_id"]["S"], item["position"]["S"])


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [message(2), message(1)],
        [message(1), message(1)],
        [message(1), message(2, "ann"), message(3)],
        [message(9_999), message(10_000)],
        [message(-1)],
    ],
)
def test_what_is_no_bundle_is_not_written(messages: list[Message]) -> None:
    """As `encode_bundle` has it (G2)."""
    with pytest.raises(ValueError, match="bundle"):
        encode_put(Bundle(LogId(1, 3), "bob", entries_of(messages), 0))
    with pytest.raises(ValueError, match="bundle"):
        encode_bundle(messages, TOPIC)


class Asked(Recorder):
    """The bodies of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    def add(self, operation: str, body: bytes, at_ns: int = 0) -> None:
        super().add(operation, body, at_ns)
        self.bodies.append(body)


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Store, Asked]]:
    """The worker's store, and what it sends."""
    asked = Asked()
    async with serving(asked) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", address)
        async with open_store() as store:
            yield store, asked


async def test_a_prepared_call_is_sent_as_it_stands(asked: tuple[Store, Asked]) -> None:
    """Byte for byte, and any other as before (G1)."""
    store, sent = asked
    put: EncodedPut = encode_put(bundle_of(message(7, "\u00e9\u2028")))
    write = PreparedWrite("mailboxes", [put])
    answer = await store.call("batch_write_item", RequestItems=write)
    await store.call("batch_write_item", RequestItems=dict(write))
    await store.get_item("mailboxes", {"user_id": {"S": "bob"}, "position": {"S": "!"}})

    assert answer["UnprocessedItems"] == {}
    assert sent.bodies[0] == write.body()
    assert json.loads(sent.bodies[1]) == json.loads(write.body())
    assert {name: cost.calls for name, cost in sent.calls.items()} == {
        "BatchWriteItem": 2,
        "GetItem": 1,
    }
