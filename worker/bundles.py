"""Entries of a flush, packed into bundles, in waves. Pure.

What `pack` promises, and readers rely on (why bundles are safe: docs/delivery.md):

1. Every message is in exactly one bundle; a bundle has one mailbox and one log.
2. A mailbox's bundles, wave after wave, hold its messages in log order.
3. A bundle never crosses a window border.
4. A bundle fits an item, and is within the limits, unless it is one message.
5. Wave k holds every mailbox's k-th bundle: no mailbox twice in a wave, so a wave may be written
   in any order, and the next only when it is durable.

What a bundle's key holds does not depend on the limits, which may differ from worker to worker.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from poste_restante.item import ITEM_BYTES_MAX, item_bytes_max
from poste_restante.position import LogId, window_end
from worker.entry import Entry


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """What one bundle holds at most; `bytes_max` as `message_bytes_max` counts them.

    A message that is larger stands alone. 1 message: one item per message.
    """

    messages_max: int = 100
    bytes_max: int = 64 * 1024

    def __post_init__(self) -> None:
        if self.messages_max < 1 or self.bytes_max < 1:
            raise ValueError("a bundle holds at least one message of one byte")


class Bundle(NamedTuple):
    """Messages of one mailbox and one log, in log order, in one window: one item.

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
        """Two bundles, in log order, of one that has two messages or more."""
        middle = len(self.entries) // 2
        return Bundle.of(self.entries[:middle], self.log), Bundle.of(
            self.entries[middle:], self.log
        )


class _Mailbox:
    """The bundle of one mailbox that is being filled, and how many were closed before it.

    bytes: of the entries. overhead: of an item without any. border: of the window it is in.
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
    """The waves of a flush. entries: of one log, in its order; none that alone fits no item."""
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
