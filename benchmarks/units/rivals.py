"""What one writes by hand for the same messages: an item per message, as lean as it can be. Pure.

Its item has two keys, body and expiry: no id, no time, no epoch, nothing for a replay. It is put
when the message comes. Then it is deleted when it was fetched (the usual way), or left to TTL
behind a cursor that a reader asks for first: GetItem, and a Query above it.
"""

from enum import StrEnum
from math import ceil

from benchmarks.units.day import RETENTION_DAYS, History, Played, Sent, user_key
from benchmarks.units.table import STORED_ITEM_OVERHEAD_BYTES, TTL_LAG_S, Counted
from benchmarks.users import DAY_S
from poste_restante.item import READ_UNIT_BYTES, item_bytes, write_units


class Rival(StrEnum):
    """What happens to an item that was fetched. CLIENT_CURSOR: the client keeps the cursor."""

    DELETE = "an item per message, deleted"
    CURSOR = "an item per message, left to TTL behind a cursor"
    CLIENT_CURSOR = "the same, the client keeps the cursor"


def play_rival(past: History, rival: Rival, retention_days: float = RETENTION_DAYS) -> Played:
    """The history, one item for each message."""
    played = Played(
        Counted(), past.messages, sum(past.counts(at_s) for at_s, _ in past.returns)
    )  # fmt: skip
    counted = played.counted
    life_s = retention_days * DAY_S + TTL_LAG_S
    waiting: list[list[Sent]] = [[] for _ in range(past.users)]
    coming = iter([*past.sent, None])
    one = next(coming)
    for at_s, user in past.returns:
        while one is not None and one.at_s <= at_s:
            waiting[one.user].append(one)
            one = next(coming)
        there = [sent for sent in waiting[user] if at_s - sent.at_s < life_s]
        waiting[user] = []
        if rival is Rival.DELETE:  # those of the counted days are not stored from now on
            for sent in there:
                if past.counts(sent.at_s):
                    counted.stored_byte_s -= _stored_bytes(sent) * (sent.at_s + life_s - at_s)
        if past.counts(at_s):
            _count_return(counted, there, rival)
    for sent in past.sent:
        if past.counts(sent.at_s):
            counted.bundles += 1
            counted.bundle_units += write_units(item_bytes(lean_item(sent)))
            counted.stored_byte_s += _stored_bytes(sent) * life_s
    return played


def _count_return(counted: Counted, there: list[Sent], rival: Rival) -> None:
    sizes = [item_bytes(lean_item(sent)) for sent in there]
    counted.queries += 1
    counted.read_units += max(1, ceil(sum(sizes) / READ_UNIT_BYTES))
    if rival is Rival.DELETE:
        counted.delete_units += sum(map(write_units, sizes))
    elif rival is Rival.CURSOR:
        counted.queries += 1
        counted.read_units += 1
        counted.ack_units += bool(there)


def _stored_bytes(sent: Sent) -> int:
    return item_bytes(lean_item(sent)) + STORED_ITEM_OVERHEAD_BYTES


def lean_item(sent: Sent) -> dict[str, dict[str, object]]:
    """The usual item."""
    return {
        "user_id": {"S": user_key(sent.user).decode()}, "sort": {"S": "0" * 20},
        "body": {"B": b"x" * sent.body_bytes}, "expires_at": {"N": "1769860800"},
    }  # fmt: skip
