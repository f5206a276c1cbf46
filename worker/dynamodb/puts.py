"""What one BatchWriteItem takes and returns: bundles as puts, the body, the left-over keys. Pure.

The JSON of an item is written once, around its entries. botocore walks the arguments of a call
with the model of the service beside them, which takes about four times as long
(benchmarks/README.md). The result is what botocore makes of `encode_bundle`, without its spaces
(tests/unit/test_puts.py).
"""

from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted
from operator import lt
from typing import Any, NamedTuple, Protocol

from poste_restante.item import Item, bundle_json
from poste_restante.position import BundleKey, mailbox_key
from worker.bundles import Bundle
from worker.dynamodb.errors import MalformedAnswerError
from worker.entry import Entry

#: Items of one call (API reference, BatchWriteItem).
CALL_ITEMS_MAX = 25
#: Bytes of items in one call, as `item_bytes_max` counts them. As sent, bodies are in base64: this
#: is about 1 MiB, above which aiohttp warns of a body that holds up the event loop. The API's
#: limit is 16 MB, and no item is sent as more than 10 times its bound (the worst, headers that are
#: empty, as 9 times; a control character in JSON is 6).
CALL_BYTES_MAX = 768 * 1024

#: The key of an item in its table: `user_id` and `position`.
Key = tuple[str, str]


class EncodedPut(NamedTuple):
    """One item of a BatchWriteItem: its bundle, its key in the table, and its request in JSON."""

    bundle: Bundle
    key: Key
    json: str


class PutResult(NamedTuple):
    """The result of one call.

    left_over: keys of the puts that DynamoDB did not store. write_units: units that the call
    consumed; None: the answer does not say.
    """

    left_over: frozenset[Key]
    write_units: float | None = None


class PutsItems(Protocol):
    """A client that stores items."""

    async def put(
        self, table: str, puts: Sequence[EncodedPut], *, count_units: bool = False
    ) -> PutResult:
        """Make one attempt of one BatchWriteItem.

        puts: within the limits of one call (`fits_one_call`). count_units: ask for the consumed
        write units. Raises what an aiobotocore client raises, and MalformedAnswerError.
        """
        ...


def encode_put(bundle: Bundle) -> EncodedPut:
    """Return the put of a bundle.

    Raises ValueError for entries that are not one bundle: none, not in log order, of several
    mailboxes, or across a window border.
    """
    entries = bundle.entries
    if not entries or not _are_one_run(entries, bundle.user_id):
        raise ValueError("not one bundle: no messages, or not of one mailbox in log order")
    key = BundleKey(*bundle.log, last=entries[-1].offset, first=entries[0].offset)
    if not key.is_possible():
        raise ValueError(f"not one bundle: {key}")
    user, position = mailbox_key(bundle.user_id), key.encode()
    maps = [entry.json for entry in entries]
    item = bundle_json(user, position, maps, [entry.expires_at_ms for entry in entries])
    return EncodedPut(bundle, (user, position), f'{{"PutRequest":{{"Item":{item}}}}}')


def _are_one_run(entries: Sequence[Entry], user_id: str) -> bool:
    if len(entries) == 1:
        return entries[0].user_id == user_id
    offsets = [entry.offset for entry in entries]
    return all(map(lt, offsets, offsets[1:])) and {entry.user_id for entry in entries} == {user_id}


def fits_one_call(items: int, size: int) -> bool:
    """Whether one call may carry so many items of so many bytes, as `item_bytes_max` counts."""
    return items <= CALL_ITEMS_MAX and size <= CALL_BYTES_MAX


def size_of(puts: Sequence[EncodedPut]) -> int:
    """Return the bytes of the items, as `item_bytes_max` counts them."""
    return sum(put.bundle.bytes_max for put in puts)


def body_of(table: str, puts: Sequence[EncodedPut], *, count_units: bool = False) -> bytes:
    """Return the body of a BatchWriteItem."""
    items = ",".join([put.json for put in puts])
    units = ',"ReturnConsumedCapacity":"TOTAL"' if count_units else ""
    return f'{{"RequestItems":{{{quoted(table)}:[{items}]}}{units}}}'.encode("ascii")


def result_of(answer: Any, table: str, puts: Sequence[EncodedPut]) -> PutResult:
    """Return the result that an answer states. Raises as `left_over` does."""
    return PutResult(left_over(answer, table, puts), consumed_units(answer))


def left_over(answer: Any, table: str, puts: Sequence[EncodedPut]) -> frozenset[Key]:
    """Return the keys of the puts that DynamoDB did not store.

    Raises MalformedAnswerError for an answer without `UnprocessedItems`, which DynamoDB always
    sends, if only empty; for one of another shape; and for one that names another table or item.
    """
    try:
        tables = answer["UnprocessedItems"]
        found = frozenset(key_of(r["PutRequest"]["Item"]) for r in tables.get(table, ()))
        if tables.keys() <= {table} and found <= {put.key for put in puts}:
            return found
    except (AttributeError, KeyError, TypeError):
        pass
    raise MalformedAnswerError


def key_of(item: Item) -> Key:
    """Return the key of an item in its table."""
    return item["user_id"]["S"], item["position"]["S"]


def consumed_units(answer: Mapping[str, Any]) -> float | None:
    """Write units that a BatchWriteItem consumed; None: its answer does not say."""
    try:
        tables = [float(table["CapacityUnits"]) for table in answer["ConsumedCapacity"]]
    except (KeyError, TypeError, ValueError):
        return None
    return sum(tables) if tables else None
