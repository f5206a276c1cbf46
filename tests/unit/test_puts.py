"""What one BatchWriteItem takes is what botocore writes; what it returns is read with care."""

import json
from functools import cache
from typing import Any
from unittest.mock import patch

import botocore.session
import pytest
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.item import encode_bundle, from_json
from poste_restante.message import Message
from poste_restante.position import BundleKey, LogId
from tests.bundles import bundle_of, bundles, entries_of
from tests.records import TOPIC, message
from worker.bundles import Bundle
from worker.dynamodb.errors import MalformedAnswerError
from worker.dynamodb.puts import EncodedPut, body_of, encode_put, result_of


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
    body = body_of(table, [encode_put(bundle_of(*messages)) for messages in many])
    items = [encode_bundle(messages, TOPIC) for messages in many]
    ours, theirs = json.loads(body), as_botocore(table, items)

    assert ours == theirs
    assert json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)
    assert body.isascii()


@given(bundles())
def test_a_put_is_known_by_the_key_of_its_item(messages: list[Message]) -> None:
    """What a store leaves over is found again by it (G1)."""
    item = encode_bundle(messages, TOPIC)

    assert encode_put(bundle_of(*messages)).key == (item["user_id"]["S"], item["position"]["S"])


def test_a_put_encodes_its_key_once() -> None:
    """It is a tenth of the work on a record that is an item of its own."""
    encode = BundleKey.encode
    with patch.object(BundleKey, "encode", autospec=True, side_effect=encode) as encoded:
        encode_put(bundle_of(message(7), message(8)))

    assert encoded.call_count == 1


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


PUTS = [encode_put(bundle_of(message(7))), encode_put(bundle_of(message(8, "ann")))]


def left(*puts: EncodedPut, table: str = "mailboxes") -> Any:
    """An answer that leaves these over."""
    return {"UnprocessedItems": {table: [from_json(put.json) for put in puts]} if puts else {}}


def test_a_result_names_the_keys_that_are_left_over() -> None:
    """Nothing that is left over is taken for durable (G1)."""
    assert result_of(left(), "mailboxes", PUTS) == (frozenset(), None)
    assert result_of({"UnprocessedItems": {"mailboxes": []}}, "mailboxes", PUTS).left_over == set()
    assert result_of(left(PUTS[1]), "mailboxes", PUTS).left_over == {PUTS[1].key}
    counted = {**left(*PUTS), "ConsumedCapacity": [{"CapacityUnits": 2.5}]}
    assert result_of(counted, "mailboxes", PUTS).write_units == 2.5


@pytest.mark.parametrize(
    "answer",
    [
        {}, None, [], "null", 7, {"UnprocessedItems": None}, {"UnprocessedItems": []},
        {"UnprocessedItems": [1]}, {"UnprocessedItems": {"mailboxes": None}},
        {"UnprocessedItems": {"mailboxes": [{"PutRequest": {"Item": {"b": {"B": b""}}}}]}},
        left(encode_put(bundle_of(message(99)))), left(PUTS[0], table="another"),
        {"UnprocessedItems": {"another": []}}, {"UnprocessedItems": {"another": None}},
    ],
)  # fmt: skip
def test_a_malformed_answer_has_no_result(answer: Any) -> None:
    """Nothing is taken for durable by an answer that was cut off, or is about other items (G1)."""
    with pytest.raises(MalformedAnswerError):
        result_of(answer, "mailboxes", PUTS)
