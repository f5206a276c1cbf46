"""The table's schema, and the items of both sides: the table record and the cursor."""

from dataclasses import dataclass
from typing import Any, Self

from poste_restante.item import FORMAT_VERSION, Item
from poste_restante.position import CURSOR_KEY, TABLE_RECORD_KEY, WINDOW_SIZE, LogId

#: Time-to-live attribute, epoch seconds.
TTL_ATTRIBUTE = "expires_at"

#: Epoch milliseconds at which a cursor was purged. An acknowledgement removes it, and the expiry.
PURGED_AT_ATTRIBUTE = "purged_at"

#: Prefix of a log's name, in the account's cursor, for the offset up to which it was purged.
PURGED_PREFIX = "purged."

#: Arguments of `create_table`, without the name. A local index would limit a mailbox to 10 GB (API
#: reference, "Constraints").
TABLE_SCHEMA: dict[str, Any] = {
    "KeySchema": [
        {"AttributeName": "user_id", "KeyType": "HASH"},
        {"AttributeName": "position", "KeyType": "RANGE"},
    ],
    "AttributeDefinitions": [
        {"AttributeName": "user_id", "AttributeType": "S"},
        {"AttributeName": "position", "AttributeType": "S"},
    ],
    "BillingMode": "PAY_PER_REQUEST",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRecord:
    """The identity of a table. `poste init` creates it, and `poste epoch` raises its epoch.

    table_id: random; another id is another table.
    topic: the only topic of the table's messages.
    partitions: of the topic, when the record was written.
    epoch: the topic's present incarnation, from 1.
    """

    table_id: str
    topic: str
    partitions: int
    epoch: int

    def encode(self) -> Item:
        return {
            "user_id": {"S": TABLE_RECORD_KEY},
            "position": {"S": CURSOR_KEY},
            "table_id": {"S": self.table_id},
            "topic": {"S": self.topic},
            "partitions": {"N": str(self.partitions)},
            "epoch": {"N": str(self.epoch)},
            "v": {"N": str(FORMAT_VERSION)},
            "window_size": {"N": str(WINDOW_SIZE)},
        }

    @classmethod
    def decode(cls, item: Item) -> Self:
        """Return the record of an item. Raises ValueError with the reason for an unusable table."""
        try:
            version, window = int(item["v"]["N"]), int(item["window_size"]["N"])
            if version != FORMAT_VERSION:
                raise ValueError(f"the table has format version {version}, not {FORMAT_VERSION}")
            if window != WINDOW_SIZE:
                raise ValueError(f"the table has windows of {window} offsets, not {WINDOW_SIZE}")
            return cls(
                table_id=item["table_id"]["S"],
                topic=item["topic"]["S"],
                partitions=int(item["partitions"]["N"]),
                epoch=int(item["epoch"]["N"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"the table record is damaged: {error!r}") from error


#: Per log, the highest offset that the mailbox's user has acknowledged.
Cursor = dict[LogId, int]


def decode_cursor(item: Item) -> Cursor:
    """Return the cursor of an item. Attributes of other names are ignored.

    Raises ValueError if a log's attribute is no offset.
    """
    return _offsets(item, "")


def decode_purged(item: Item) -> Cursor:
    """Return the purged offsets in the item of an account's cursor. Raises as `decode_cursor`."""
    return _offsets(item, PURGED_PREFIX)


def _offsets(item: Item, prefix: str) -> Cursor:
    cursor: Cursor = {}
    for name, value in item.items():
        if not name.startswith(prefix):
            continue
        try:
            log = LogId.decode(name[len(prefix) :])
        except ValueError:
            continue
        try:
            cursor[log] = int(value["N"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{name} is no number: {error!r}") from error
    return cursor
