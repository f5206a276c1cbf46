"""The item of a bundle: its format, its size, encoding and decoding.

Format version 1, in DynamoDB's notation (docs/format.md is the contract). Attribute names inside a
message have one letter, because every stored byte of a name is billed:

    user_id     S   mailbox key (position.mailbox_key)
    position    S   bundle key  (position.BundleKey)
    v           N   1
    expires_at  N   epoch seconds, the latest expiry of its messages; absent: one has none
    messages    L   of M, in log order:
        o  N  offset
        b  B  body
        i  S  id            absent: the position's, `topic/epoch/partition/offset`
        s  S  source        absent: none
        y  S  type          absent: none
        t  N  time, epoch microseconds                absent: none
        c  S  content type                            absent: none
        h  L  headers, flat: name S, value B or NULL, name, value, ...   absent: none
        e  N  expiry, epoch milliseconds              absent: does not expire

Readers ignore other attributes. Any other `v` makes the item unreadable.
"""

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from poste_restante.message import Header, Message
from poste_restante.position import BundleKey, LogId, Position, mailbox_key, utf8_bytes

FORMAT_VERSION = 1

#: Largest written item. DynamoDB's limit is 400 KB = 409,600 bytes (API reference,
#: "Constraints"). The rest is a margin for the upper-bound formula.
ITEM_BYTES_MAX = 400_000

#: DynamoDB's size of values (developer guide, "Item sizes and formats"): a number is at most 21
#: bytes, a list or a map 3, and each element of it 1 more.
_NUMBER_BYTES = 21
_CONTAINER_BYTES = 3
_ELEMENT_BYTES = 1
#: user_id (key <= 1,025 bytes is counted apart), position, v, expires_at, messages: names and
#: values without the mailbox key and the messages themselves.
_ITEM_OVERHEAD_BYTES = (
    len("user_id") + len("position") + 50 + len("v") + _NUMBER_BYTES
    + len("expires_at") + _NUMBER_BYTES + len("messages") + _CONTAINER_BYTES
)  # fmt: skip
#: A message without its body, texts and headers.
MESSAGE_OVERHEAD_BYTES = (
    _ELEMENT_BYTES + _CONTAINER_BYTES  # its place in the list, and the map
    + 9 * (1 + _ELEMENT_BYTES)  # nine one-letter names and their places in the map
    + 3 * _NUMBER_BYTES  # o, t, e
)  # fmt: skip

#: Bytes of a write unit and of a read unit (developer guide, "Read and write operations").
WRITE_UNIT_BYTES, READ_UNIT_BYTES = 1024, 4096

#: DynamoDB's typed attribute values, as the low-level client takes and returns them.
Attribute = Mapping[str, Any]
Item = dict[str, Attribute]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_MILLISECOND = timedelta(milliseconds=1)


def encode_bundle(messages: Sequence[Message], topic: str) -> Item:
    """Return the item of a bundle, a pure function of messages of one mailbox and log.

    Raises ValueError for no messages, messages out of log order, of several mailboxes or logs, or
    across a window border.
    """
    key = bundle_key(messages)
    maps = [encode_message(message, topic) for message in messages]
    expiries_ms = [_expiry_ms(message) for message in messages]
    user, position = mailbox_key(messages[0].user_id), key.encode()
    item: Item = from_json(bundle_json(user, position, maps, expiries_ms))
    return item


def bundle_json(
    user: str, position: str, maps: Iterable[str], expiries_ms: Sequence[int | None]
) -> str:
    """Return the item of a bundle as DynamoDB's JSON, ASCII without spaces.

    user, position: its key in the table, encoded. maps: the messages, as `encode_message` returns
    them. expiries_ms: the expiry of each, in epoch milliseconds, or None.
    """
    expiring_ms = [each for each in expiries_ms if each is not None]
    expiry = ""
    if len(expiring_ms) == len(expiries_ms):
        expiry = f',"expires_at":{{"N":"{-(-max(expiring_ms) // 1000)}"}}'
    return (
        f'{{"user_id":{{"S":{quoted(user)}}},"position":{{"S":"{position}"}},'
        f'"v":{{"N":"{FORMAT_VERSION}"}},"messages":{{"L":[{",".join(maps)}]}}{expiry}}}'
    )


def bundle_key(messages: Sequence[Message]) -> BundleKey:
    """Return the key of a bundle of these messages. Raises ValueError as `encode_bundle` does."""
    if not messages:
        raise ValueError("a bundle has at least one message")
    first, last = messages[0], messages[-1]
    key = BundleKey(*last.position.log, last=last.position.offset, first=first.position.offset)
    offsets = [message.position.offset for message in messages]
    if (
        not key.is_possible()
        or any(a >= b for a, b in pairwise(offsets))
        or any(m.user_id != first.user_id or m.position.log != key.log for m in messages)
    ):
        raise ValueError(f"not one bundle: {key}")
    return key


def encode_message(message: Message, topic: str) -> str:
    """Return a message as an element of its bundle's list, in DynamoDB's JSON, ASCII without
    spaces.

    `worker.fast_path` writes the same text for a plain message.
    """
    position = message.position
    text = f'{{"M":{{"o":{{"N":"{position.offset}"}},"b":{{"B":"{base64(message.body)}"}}'
    if message.id != position.id(topic):
        text += f',"i":{{"S":{quoted(message.id)}}}'
    if message.source is not None:
        text += f',"s":{{"S":{quoted(message.source)}}}'
    if message.type is not None:
        text += f',"y":{{"S":{quoted(message.type)}}}'
    if message.time is not None:
        text += f',"t":{{"N":"{(message.time - EPOCH) // MICROSECOND}"}}'
    if message.content_type is not None:
        text += f',"c":{{"S":{quoted(message.content_type)}}}'
    if message.headers:
        text += f',"h":{{"L":[{",".join(map(_encode_header, message.headers))}]}}'
    if message.expires_at is not None:
        text += f',"e":{{"N":"{to_milliseconds(message.expires_at)}"}}'
    return text + "}}"


def _encode_header(header: Header) -> str:
    name, value = header
    encoded = '{"NULL":true}' if value is None else f'{{"B":"{base64(value)}"}}'
    return f'{{"S":{quoted(name)}}},{encoded}'


def _expiry_ms(message: Message) -> int | None:
    return None if message.expires_at is None else to_milliseconds(message.expires_at)


def base64(content: bytes) -> str:
    """Return bytes as DynamoDB's JSON has them."""
    return b2a_base64(content, newline=False).decode("ascii")


def from_json(text: str | bytes) -> Any:
    """Parse DynamoDB's JSON into the values of the low-level client, with bytes for base64.

    Raises ValueError for invalid JSON, or invalid base64 of a binary value.
    """
    return json.loads(text, object_hook=_decode_binary)


def _decode_binary(value: dict[str, Any]) -> dict[str, Any]:
    """Decode an attribute value of type B or BS; return any other object unchanged.

    An attribute that is itself named "B" holds an attribute value, which is an object.
    """
    content = value.get("B")
    if type(content) is str:
        value["B"] = a2b_base64(content)
    elif "BS" in value and type(value["BS"]) is list:
        value["BS"] = [a2b_base64(each) for each in value["BS"]]
    return value


def message_bytes_max(message: Message) -> int:
    """Return an upper bound of a message's part of its item, in bytes as DynamoDB counts them."""
    size = MESSAGE_OVERHEAD_BYTES + len(message.body) + utf8_bytes(message.id)
    if message.source is not None:
        size += utf8_bytes(message.source)
    if message.type is not None:
        size += utf8_bytes(message.type)
    if message.content_type is not None:
        size += utf8_bytes(message.content_type)
    if message.headers:
        size += _CONTAINER_BYTES
        for name, value in message.headers:
            size += 2 * _ELEMENT_BYTES + utf8_bytes(name)
            size += 1 if value is None else len(value)  # NULL is one byte
    return size


def item_bytes_max(user_id: str, messages_bytes: int) -> int:
    """Return an upper bound of an item's size, given the sum of its messages'
    `message_bytes_max`."""
    return _ITEM_OVERHEAD_BYTES + utf8_bytes(mailbox_key(user_id)) + messages_bytes


def write_units(size: int) -> int:
    """Return the units that writing, or deleting, an item of this many bytes costs."""
    return max(1, -(-size // WRITE_UNIT_BYTES))


def item_bytes(item: Mapping[str, Any]) -> int:
    """Return an item's size as DynamoDB counts it (developer guide, "Item sizes and formats")."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "B":
        return len(content)
    if kind == "N":
        return len(content.strip("-0.")) // 2 + 2
    if kind == "L":
        return 3 + sum(1 + _value_bytes(element) for element in content)
    if kind == "M":
        return 3 + sum(1 + len(n.encode()) + _value_bytes(v) for n, v in content.items())
    return 1  # NULL, BOOL


def decode_bundle(item: Item, user_id: str, topic: str) -> list[Message]:
    """Return the messages of a bundle, in log order.

    Raises ValueError with the reason for an item of another format version, a damaged one, or one
    with other messages than its key states.
    """
    key = BundleKey.decode(item["position"]["S"])
    version = item.get("v", {}).get("N")
    if version != str(FORMAT_VERSION):
        raise ValueError(f"format version {version}, this reader knows {FORMAT_VERSION}")
    try:
        maps = [entry["M"] for entry in item["messages"]["L"]]
        messages = [decode_message(attributes, user_id, key.log, topic) for attributes in maps]
    except (KeyError, TypeError, ArithmeticError) as error:
        raise ValueError(f"damaged: {error!r}") from error
    if bundle_key(messages) != key:
        raise ValueError("holds other messages than its key says")
    return messages


def decode_message(attributes: Item, user_id: str, log: LogId, topic: str) -> Message:
    """Return the message of a map. Raises KeyError, TypeError or ValueError for a damaged map."""
    position = Position(*log, int(attributes["o"]["N"]))
    own_id = _text(attributes, "i")
    time = attributes.get("t")
    expiry = attributes.get("e")
    return Message(
        user_id=user_id,
        id=position.id(topic) if own_id is None else own_id,
        source=_text(attributes, "s"),
        type=_text(attributes, "y"),
        time=None if time is None else EPOCH + int(time["N"]) * MICROSECOND,
        content_type=_text(attributes, "c"),
        body=bytes(attributes["b"]["B"]),
        headers=tuple(_decode_headers(attributes.get("h", {"L": []})["L"])),
        expires_at=None if expiry is None else EPOCH + int(expiry["N"]) * _MILLISECOND,
        position=position,
    )


def _text(attributes: Item, name: str) -> str | None:
    value = attributes.get(name)
    return None if value is None else str(value["S"])


def _decode_headers(flat: Sequence[Attribute]) -> Iterator[Header]:
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        yield name["S"], None if "NULL" in value else bytes(value["B"])


def to_milliseconds(time: datetime) -> int:
    """Return the epoch milliseconds of an aware datetime, rounded down."""
    return (time - EPOCH) // _MILLISECOND


def from_milliseconds(milliseconds: int) -> datetime:
    """Return epoch milliseconds as an aware datetime. Raises OverflowError outside years 1 to
    9999."""
    return EPOCH + milliseconds * _MILLISECOND
