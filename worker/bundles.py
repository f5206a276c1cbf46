"""Packs the entries of a flush into bundles, in waves. Pure.

Readers rely on these properties of `pack` (proof: docs/delivery.md):

1. Every message is in exactly one bundle; a bundle has one mailbox and one partition log.
2. A mailbox's bundles, wave after wave, hold its messages in log order.
3. A bundle never crosses a window border.
4. A bundle fits an item, and is within the limits unless it is a single message.
5. Wave k holds every mailbox's k-th bundle. A mailbox appears once in a wave, so the writes of a
   wave have no order; the next wave starts when this one is durable.

The limits may differ between workers. They do not change what the bundle of a key holds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from poste_restante.item import ITEM_BYTES_MAX, item_bytes_max
from poste_restante.position import LogId, window_end
from worker.entry import Entry


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """Limits of one bundle; `bytes_max` as `message_bytes_max` counts them.

    A larger message stands alone. With messages_max = 1 each message is an item.
    """

    messages_max: int = 100
    bytes_max: int = 64 * 1024

    def __post_init__(self) -> None:
        if self.messages_max < 1 or self.bytes_max < 1:
            raise ValueError("a bundle holds at least one message of one byte")


class Bundle(NamedTuple):
    """Messages of one mailbox and one partition log, in log order, in one window: one item.

    bytes_max: an upper bound of the item's size, as `item_bytes_max` counts it.
    """

    log: LogId
    user_id: str
    entries: Sequence[Entry]
    bytes_max: int

    @classmethod
    def of(cls, entries: Sequence[Entry], log: LogId) -> "Bundle":
        user_id = entries[0].user_id
        size = sum(entry.bytes_max for entry in entries)
        return cls(log, user_id, entries, item_bytes_max(user_id, size))

    def halves(self) -> "tuple[Bundle, Bundle]":
        """Split a bundle of at least two messages into two, in log order."""
        middle = len(self.entries) // 2
        return Bundle.of(self.entries[:middle], self.log), Bundle.of(
            self.entries[middle:], self.log
        )


class _Mailbox:
    """The open bundle of one mailbox, and the number of its closed ones.

    bytes: of the entries. overhead: bytes of an empty item. border: end of the window.
    """

    __slots__ = ("border", "bytes", "closed", "entries", "overhead", "user_id")

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.overhead = item_bytes_max(user_id, 0)
        self.closed = 0
        self.border = 0
        self.entries: list[Entry] = []
        self.bytes = 0

    def close(self, log: LogId, waves: list[list[Bundle]]) -> None:
        if self.closed == len(waves):
            waves.append([])
        size = self.overhead + self.bytes
        waves[self.closed].append(Bundle(log, self.user_id, self.entries, size))
        self.entries, self.bytes = [], 0
        self.closed += 1


def pack(entries: Iterable[Entry], log: LogId, limits: BundleLimits) -> list[list[Bundle]]:
    """Return the waves of a flush. entries: of one partition log, in order; each fits an item."""
    messages_max, bytes_max = limits.messages_max, limits.bytes_max
    waves: list[list[Bundle]] = []
    mailboxes: dict[str, _Mailbox] = {}
    for entry in entries:
        user_id, offset, size, _, _ = entry
        mailbox = mailboxes.get(user_id)
        if mailbox is None:
            mailbox = mailboxes[user_id] = _Mailbox(user_id)
        elif (
            offset >= mailbox.border
            or len(mailbox.entries) >= messages_max
            or (total := mailbox.bytes + size) > bytes_max
            or mailbox.overhead + total > ITEM_BYTES_MAX
        ):
            mailbox.close(log, waves)
        if not mailbox.entries:
            mailbox.border = window_end(offset + 1)
        mailbox.entries.append(entry)
        mailbox.bytes += size
    for mailbox in mailboxes.values():
        mailbox.close(log, waves)
    return waves
