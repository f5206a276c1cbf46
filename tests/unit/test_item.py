"""The bundle item: both directions, its size, and what is no bundle."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from poste_restante.item import (
    FORMAT_VERSION,
    ITEM_BYTES_MAX,
    READ_UNIT_BYTES,
    Item,
    decode_bundle,
    encode_bundle,
    from_json,
    from_milliseconds,
    item_bytes,
    item_bytes_max,
    message_bytes_max,
    to_milliseconds,
    write_units,
)
from poste_restante.message import Message
from poste_restante.position import Position
from tests.bundles import bundles
from tests.records import TOPIC, message


@given(bundles())
def test_a_bundle_survives_its_encoding(messages: list[Message]) -> None:
    """Bodies, headers, nulls, repeated names, empty texts: as they were sent (G1)."""
    item = encode_bundle(messages, TOPIC)

    assert decode_bundle(item, messages[0].user_id, TOPIC) == messages


@given(bundles())
def test_the_bound_of_an_items_size_is_one(messages: list[Message]) -> None:
    """As DynamoDB counts its bytes (G8, G9)."""
    bound = item_bytes_max(messages[0].user_id, sum(map(message_bytes_max, messages)))

    assert item_bytes(encode_bundle(messages, TOPIC)) <= bound


def test_the_bound_is_a_close_one() -> None:
    """It does not refuse what would fit by far (G9)."""
    messages = [message(n, body=b"x" * 1000) for n in range(50)]
    bound = item_bytes_max("bob", sum(map(message_bytes_max, messages)))

    assert bound <= 1.15 * item_bytes(encode_bundle(messages, TOPIC))


def test_the_bound_is_the_sum_of_what_the_format_names() -> None:
    """A key of 50 bytes, numbers of 21, 3 for a list or map and 1 for each element (G8, G9)."""
    names = len("user_id" + "position" + "v" + "expires_at" + "messages")
    plain = message(7, body=b"12345")
    full = replace(
        plain, id="é", source="/s", type="typ", content_type="text",
        headers=(("é", b"1234"), ("none", None)),
    )  # fmt: skip

    assert item_bytes_max("!é", 1000) == names + 50 + 2 * 21 + 3 + len("!!") + 2 + 1000
    # Place and map; nine names and their places; offset, time and expiry.
    fixed = (1 + 3) + 9 * (1 + 1) + 3 * 21
    assert message_bytes_max(plain) == fixed + 5 + len(f"{TOPIC}/1/3/7")
    headers = 3 + (2 + 2 + 4) + (2 + 4 + 1)
    assert message_bytes_max(full) == fixed + 5 + 2 + 2 + 3 + 4 + headers


def test_the_limits_are_dynamodbs() -> None:
    """An item of ours leaves 9,600 bytes of 400 KB (G8)."""
    assert (ITEM_BYTES_MAX, READ_UNIT_BYTES) == (400 * 1024 - 9_600, 4 * 1024)


@pytest.mark.parametrize(("size", "units"), [(0, 1), (1, 1), (1024, 1), (1025, 2), (2048, 2)])
def test_a_write_costs_a_unit_for_each_begun_kilobyte(size: int, units: int) -> None:
    """And one at least."""
    assert write_units(size) == units


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "aé"}, 3), ({"B": b"abc"}, 3), ({"NULL": True}, 1), ({"BOOL": False}, 1),
        ({"N": "0"}, 2), ({"N": "7"}, 2), ({"N": "42"}, 3), ({"N": "-420"}, 3), ({"N": "12345"}, 4),
        ({"L": []}, 3), ({"L": [{"S": "ab"}, {"NULL": True}]}, 3 + (1 + 2) + (1 + 1)),
        ({"M": {}}, 3), ({"M": {"é": {"B": b"a"}, "n": {"N": "7"}}}, 3 + (1 + 2 + 1) + (1 + 1 + 2)),
    ],
)  # fmt: skip
def test_an_items_size_is_counted_as_documented(value: dict[str, Any], size: int) -> None:
    """Names in UTF-8, two digits a byte (developer guide, "Item sizes and formats")."""
    assert item_bytes({"né": value, "z": {"S": ""}}) == len("z") + 3 + size


@pytest.mark.parametrize(("micros", "millis"), [(0, 0), (999, 0), (1000, 1), (-1, -1)])
def test_milliseconds_are_rounded_down(micros: int, millis: int) -> None:
    """As Kafka's timestamps are (G1)."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    assert to_milliseconds(epoch + timedelta(microseconds=micros)) == millis
    assert from_milliseconds(millis) == epoch + timedelta(milliseconds=millis)


@given(bundles())
def test_the_item_expires_with_its_last_message(messages: list[Message]) -> None:
    """In whole seconds, never before one of them does; one without expiry keeps all (G1)."""
    item = encode_bundle(messages, TOPIC)
    expiries = [each.expires_at for each in messages]
    if None in expiries:
        assert "expires_at" not in item
    else:
        latest = max(each.timestamp() for each in expiries if each is not None)
        assert latest <= int(item["expires_at"]["N"]) < latest + 1.001


def test_the_format_is_what_is_documented() -> None:
    """Readers in other languages rely on it (G10)."""
    position = Position(1, 3, 42)
    carried = Message(
        user_id="!bob", id="m-1", source="/chat", type="sent", content_type="text/plain",
        time=datetime(2026, 1, 1, tzinfo=UTC), body=b"hi", headers=(("a", b"1"), ("b", None)),
        expires_at=datetime(2026, 1, 2, tzinfo=UTC) + timedelta(milliseconds=1), position=position,
    )  # fmt: skip

    assert encode_bundle([carried], TOPIC) == {
        "user_id": {"S": "!!bob"},
        "position": {"S": "0001.00003.0000000000000000042.0000000000000000042"},
        "v": {"N": "1"},
        "expires_at": {"N": "1767312001"},
        "messages": {
            "L": [
                {
                    "M": {
                        "o": {"N": "42"},
                        "b": {"B": b"hi"},
                        "i": {"S": "m-1"},
                        "s": {"S": "/chat"},
                        "y": {"S": "sent"},
                        "t": {"N": "1767225600000000"},
                        "c": {"S": "text/plain"},
                        "h": {"L": [{"S": "a"}, {"B": b"1"}, {"S": "b"}, {"NULL": True}]},
                        "e": {"N": "1767312000001"},
                    }
                }
            ]
        },
    }
    assert encode_bundle([message(7)], TOPIC)["messages"] == {
        "L": [{"M": {"o": {"N": "7"}, "b": {"B": b"hello"}}}]
    }


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [message(2), message(1)],
        [message(1), message(1)],
        [message(9_999), message(10_000)],
        [message(1), message(2, "ann")],
        [message(1), message(2, partition=4)],
        [message(1), message(2, epoch=2)],
        [message(-1)],
    ],
)
def test_what_is_no_bundle_is_not_encoded(messages: Sequence[Message]) -> None:
    """The key would say something else than the item holds (G2)."""
    with pytest.raises(ValueError, match="bundle"):
        encode_bundle(messages, TOPIC)


def stored() -> Item:
    return encode_bundle([message(4), message(6)], TOPIC)


def test_attributes_that_are_not_known_are_ignored() -> None:
    """A later version may add some (G10)."""
    item = stored() | {"checksum": {"B": b"?"}}
    item["messages"]["L"][0]["M"]["z"] = {"S": "new"}

    assert decode_bundle(item, "bob", TOPIC) == [message(4), message(6)]


@pytest.mark.parametrize("version", [None, {"N": "2"}, {"N": "0"}, {"S": "1"}, {"N": "1.5"}])
def test_another_version_cannot_be_read(version: dict[str, str] | None) -> None:
    """The reader stops there rather than guess (G2, G10)."""
    item = stored()
    del item["v"]
    if version is not None:
        item["v"] = version
    with pytest.raises(ValueError, match=f"this reader knows {FORMAT_VERSION}"):
        decode_bundle(item, "bob", TOPIC)


def _without(name: str) -> Any:
    def damage(item: Item) -> None:
        del item["messages"]["L"][0]["M"][name]

    return damage


def _with(name: str, value: Any) -> Any:
    def damage(item: Item) -> None:
        item["messages"]["L"][0]["M"][name] = value

    return damage


def _messages(value: Any) -> Any:
    def damage(item: Item) -> None:
        item["messages"] = value

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda item: item.pop("messages"),
        lambda item: item["messages"]["L"].pop(),
        lambda item: item["messages"]["L"].reverse(),
        lambda item: item["messages"]["L"].append({"S": "?"}),
        _messages({"S": "?"}),
        _messages({"L": []}),
        _without("o"),
        _without("b"),
        _with("o", {"N": "5"}),
        _with("o", {"N": "-4"}),
        _with("o", {"N": "4.5"}),
        _with("b", {"S": "text"}),
        _with("i", {"N": "1"}),
        _with("t", {"N": "9e99"}),
        _with("t", {"N": "9" * 30}),
        _with("e", {"S": "soon"}),
        _with("h", {"L": [{"S": "a"}]}),
        _with("h", {"L": [{"B": b"a"}, {"B": b"b"}]}),
        _with("h", {"L": [{"S": "a"}, {"S": "b"}]}),
        _with("h", {"S": "a"}),
    ],
)
def test_a_damaged_item_is_not_read_in_part(damage: Any) -> None:
    """A missing message would be acknowledged unseen (G2)."""
    item = copy.deepcopy(stored())
    damage(item)
    with pytest.raises(ValueError, match=r"damaged|bundle|than its key says|invalid|zip|limit"):
        decode_bundle(item, "bob", TOPIC)


def test_binary_values_are_bytes_and_attributes_named_as_they_are_stay() -> None:
    """A binary value, a set of them, and attributes with those names (API reference,
    AttributeValue)."""
    text = (
        '{"b": {"B": "Ym9i"}, "set": {"BS": ["Ym9i", "YW5u"]}, "l": {"L": [{"B": ""}]},'
        ' "m": {"M": {"B": {"S": "Ym9i"}, "BS": {"L": [{"S": "Ym9i"}]}}}}'
    )
    assert from_json(text) == {
        "b": {"B": b"bob"},
        "set": {"BS": [b"bob", b"ann"]},
        "l": {"L": [{"B": b""}]},
        "m": {"M": {"B": {"S": "Ym9i"}, "BS": {"L": [{"S": "Ym9i"}]}}},
    }
