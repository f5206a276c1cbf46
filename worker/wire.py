"""Bundles as the bytes of a call: the item's JSON, written once, from the messages.

botocore walks a call's arguments with the model of the service beside them and makes JSON of what
it finds, which takes about four times as long as to write it down: we know the shape. What
is written is what botocore makes of `encode_bundle`, without its spaces (tests/unit/test_wire.py).
What that saves stands in benchmarks/README.md.
"""

import json
from base64 import b64decode
from binascii import b2a_base64
from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple

from poste_restante.item import (
    EPOCH,
    FORMAT_VERSION,
    MICROSECOND,
    Attribute,
    Item,
    bundle_key,
    expires_at_s,
    to_milliseconds,
)
from poste_restante.message import Header, Message
from poste_restante.position import mailbox_key


class EncodedPut(NamedTuple):
    """One item of a BatchWriteItem: its key in the table, and its request in JSON."""

    key: tuple[str, str]
    json: str


def encode_put(messages: Sequence[Message], topic: str) -> EncodedPut:
    """The put of a bundle. Raises ValueError as `encode_bundle` does."""
    key = bundle_key(messages)
    user, position = mailbox_key(messages[0].user_id), key.encode()
    own_id = f"{topic}/{key.epoch}/{key.partition}/"  # `Position.id`, without the offset
    maps = ",".join([_message(message, own_id) for message in messages])
    expires_at = expires_at_s(messages)
    expiry = "" if expires_at is None else f',"expires_at":{{"N":"{expires_at}"}}'
    return EncodedPut(
        (user, position),
        f'{{"PutRequest":{{"Item":{{"user_id":{{"S":{quoted(user)}}},'
        f'"position":{{"S":"{position}"}},"v":{{"N":"{FORMAT_VERSION}"}},'
        f'"messages":{{"L":[{maps}]}}{expiry}}}}}}}',
    )


def _message(message: Message, own_id: str) -> str:
    offset = str(message.position.offset)
    text = f'{{"M":{{"o":{{"N":"{offset}"}},"b":{{"B":"{_base64(message.body)}"}}'
    if message.id != own_id + offset:
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
        text += f',"h":{{"L":[{",".join(map(_header, message.headers))}]}}'
    if message.expires_at is not None:
        text += f',"e":{{"N":"{to_milliseconds(message.expires_at)}"}}'
    return text + "}}"


def _header(header: Header) -> str:
    name, value = header
    second = '{"NULL":true}' if value is None else f'{{"B":"{_base64(value)}"}}'
    return f'{{"S":{quoted(name)}}},{second}'


def _base64(content: bytes) -> str:
    return b2a_base64(content, newline=False).decode("ascii")


class PreparedWrite(Mapping[str, Any]):
    """The `RequestItems` of a BatchWriteItem whose body is made already.

    To anybody else than a DirectClient, what botocore's would be: a fake, or what
    stands between, reads it as it reads any other.
    """

    def __init__(self, table: str, puts: Sequence[EncodedPut]) -> None:
        self.table = table
        items = ",".join([put.json for put in puts])
        # Made once: a call that is throttled is sent many times.
        self._open = f'{{"RequestItems":{{{quoted(table)}:[{items}]}}'.encode("ascii")

    def body(self, **more: str) -> bytes:
        """The call's body. more: further members of the call, by their names in the API."""
        members = "".join([f",{quoted(name)}:{quoted(value)}" for name, value in more.items()])
        return self._open + members.encode("ascii") + b"}"

    def __getitem__(self, table: str) -> list[dict[str, Any]]:
        requests = json.loads(self.body())["RequestItems"][table]
        return [{"PutRequest": {"Item": _item(r["PutRequest"]["Item"])}} for r in requests]

    def __iter__(self) -> Iterator[str]:
        return iter((self.table,))

    def __len__(self) -> int:
        return 1


def _item(attributes: Mapping[str, Any]) -> Item:
    """An item as botocore takes it, of one as it is sent."""
    return {name: _attribute(value) for name, value in attributes.items()}


def _attribute(value: Mapping[str, Any]) -> Attribute:
    ((kind, content),) = value.items()
    if kind == "B":
        return {kind: b64decode(content)}
    if kind == "L":
        return {kind: [_attribute(element) for element in content]}
    return {kind: _item(content) if kind == "M" else content}
