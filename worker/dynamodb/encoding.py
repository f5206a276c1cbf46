"""Bundles as the bytes of a call: the item's JSON, written once, around its entries.

botocore walks a call's arguments with the model of the service beside them and makes JSON of what
it finds, which takes about four times as long as to write it down: we know the shape. What
is written is what botocore makes of `encode_bundle`, without its spaces
(tests/unit/test_encoding.py). What that saves stands in benchmarks/README.md.
"""

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted
from operator import lt
from typing import Any, NamedTuple

from poste_restante.item import FORMAT_VERSION, Attribute, Item
from poste_restante.position import BundleKey, mailbox_key
from worker.bundles import Bundle
from worker.entry import Entry


class EncodedPut(NamedTuple):
    """One item of a BatchWriteItem: its bundle, its key in the table, and its request in JSON."""

    bundle: Bundle
    key: tuple[str, str]
    json: str


def encode_put(bundle: Bundle) -> EncodedPut:
    """The put of a bundle. Raises ValueError for entries that are none: empty, not in log order,
    of several mailboxes, or across a window border."""
    entries = bundle.entries
    if not entries or not _are_one_run(entries, bundle.user_id):
        raise ValueError("not one bundle: no messages, or not of one mailbox in log order")
    key = BundleKey(*bundle.log, last=entries[-1].offset, first=entries[0].offset)
    if not key.is_possible():
        raise ValueError(f"not one bundle: {key}")
    user, position = mailbox_key(bundle.user_id), key.encode()
    maps = ",".join([entry.json for entry in entries])
    return EncodedPut(
        bundle,
        (user, position),
        f'{{"PutRequest":{{"Item":{{"user_id":{{"S":{quoted(user)}}},'
        f'"position":{{"S":"{position}"}},"v":{{"N":"{FORMAT_VERSION}"}},'
        f'"messages":{{"L":[{maps}]}}{_expiry(entries)}}}}}}}',
    )


def _are_one_run(entries: Sequence[Entry], user_id: str) -> bool:
    if len(entries) == 1:
        return entries[0].user_id == user_id
    offsets = [entry.offset for entry in entries]
    return all(map(lt, offsets, offsets[1:])) and {entry.user_id for entry in entries} == {user_id}


def _expiry(entries: Sequence[Entry]) -> str:
    """The attribute `expires_at`: when all have expired, epoch seconds; none if one does not."""
    expiries_ms = [each for entry in entries if (each := entry.expires_at_ms) is not None]
    if len(expiries_ms) < len(entries):
        return ""
    return f',"expires_at":{{"N":"{-(-max(expiries_ms) // 1000)}"}}'


class PreparedWrite(Mapping[str, Any]):
    """The `RequestItems` of a BatchWriteItem whose items are JSON already.

    To anybody else than a DirectClient, what botocore's would be: a fake, or what
    stands between, reads it as it reads any other.
    """

    def __init__(self, table: str, puts: Sequence[EncodedPut]) -> None:
        self.table = table
        self.puts = puts
        self._open = b""

    @property
    def bytes_max(self) -> int:
        """Bytes of the items, as `item_bytes_max` counts them."""
        return sum(put.bundle.bytes_max for put in self.puts)

    def body(self, **more: str) -> bytes:
        """The call's body. more: further members of the call, by their names in the API."""
        if not self._open:  # made once: a call that is throttled is sent many times
            items = ",".join([put.json for put in self.puts])
            self._open = f'{{"RequestItems":{{{quoted(self.table)}:[{items}]}}'.encode("ascii")
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
