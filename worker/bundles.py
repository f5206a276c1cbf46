"""Messages of a flush, packed into bundles, in waves. Pure.

What `pack` promises, and readers rely on (why bundles are safe: docs/delivery.md):

1. Every message is in exactly one bundle; a bundle has one mailbox and one log.
2. A mailbox's bundles, wave after wave, hold its messages in log order.
3. A bundle never crosses a window border.
4. A bundle fits an item, and is within the limits, unless it is one message.
5. Wave k holds every mailbox's k-th bundle: no mailbox twice in a wave, so a wave may be written
   in any order, and the next only when it is durable.

What a bundle's key holds does not depend on the limits, which may differ from life to life.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from poste_restante.item import ITEM_BYTES_MAX, item_bytes_max, message_bytes_max
from poste_restante.message import Message
from poste_restante.position import window_start


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


@dataclass(frozen=True, slots=True)
class Bundle:
    """Messages of one mailbox and one log, in log order, in one window: one item.

    bytes_max: an upper bound of the item's size, as `item_bytes_max` counts it.
    """

    user_id: str
    messages: tuple[Message, ...]
    bytes_max: int

    @classmethod
    def of(cls, messages: tuple[Message, ...]) -> "Bundle":
        user_id = messages[0].user_id
        size = sum(map(message_bytes_max, messages))
        return cls(user_id, messages, item_bytes_max(user_id, size))

    def halves(self) -> "tuple[Bundle, Bundle]":
        """Two bundles, in log order, of one that has two messages or more."""
        middle = len(self.messages) // 2
        return Bundle.of(self.messages[:middle]), Bundle.of(self.messages[middle:])


class _Mailbox:
    """The bundle of one mailbox that is being filled, and how many were closed before it."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.overhead = item_bytes_max(user_id, 0)
        self.messages: list[Message] = []
        self.bytes = 0
        self.closed = 0

    def has_room(self, message: Message, size: int, limits: BundleLimits) -> bool:
        if not self.messages:
            return True
        total = self.bytes + size
        epoch, partition, first = self.messages[0].position
        epoch_too, partition_too, last = message.position
        return (
            len(self.messages) < limits.messages_max
            and total <= limits.bytes_max
            and self.overhead + total <= ITEM_BYTES_MAX
            and (epoch, partition) == (epoch_too, partition_too)
            and window_start(first) == window_start(last)
        )

    def close(self, waves: list[list[Bundle]]) -> None:
        if self.closed == len(waves):
            waves.append([])
        size = self.overhead + self.bytes
        waves[self.closed].append(Bundle(self.user_id, tuple(self.messages), size))
        self.messages, self.bytes = [], 0
        self.closed += 1


def pack(
    messages: Sequence[Message], limits: BundleLimits, sizes: Sequence[int] | None = None
) -> list[list[Bundle]]:
    """The waves of a flush. messages: in log order; none that alone does not fit an item.

    sizes: the messages' `message_bytes_max`, where they are known.
    """
    if sizes is None:
        sizes = [message_bytes_max(message) for message in messages]
    waves: list[list[Bundle]] = []
    mailboxes: dict[str, _Mailbox] = {}
    for message, size in zip(messages, sizes, strict=True):
        mailbox = mailboxes.get(message.user_id)
        if mailbox is None:
            mailbox = mailboxes[message.user_id] = _Mailbox(message.user_id)
        if not mailbox.has_room(message, size, limits):
            mailbox.close(waves)
        mailbox.messages.append(message)
        mailbox.bytes += size
    for mailbox in mailboxes.values():
        mailbox.close(waves)
    return waves
