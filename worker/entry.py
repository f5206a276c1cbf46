"""A message as the pipeline carries it: the JSON that is stored, and a few numbers. Pure.

`decode` makes entries, so that the later stages handle a text and a few numbers, whatever the
record carried.
"""

from typing import NamedTuple

from poste_restante.item import encode_message, message_bytes_max, to_milliseconds
from poste_restante.message import Message


class Entry(NamedTuple):
    """One message of a mailbox, as it is stored. Its bundle knows the partition log.

    bytes_max: as `message_bytes_max` counts it. expires_at_ms: epoch milliseconds; None: never.
    json: as `encode_message` writes it.
    """

    user_id: str
    offset: int
    bytes_max: int
    expires_at_ms: int | None
    json: str


def entry_of(message: Message, topic: str) -> Entry:
    """Return the entry of a message.

    Raises UnicodeEncodeError for a text with a lone surrogate.
    """
    return Entry(
        message.user_id,
        message.position.offset,
        message_bytes_max(message),
        None if message.expires_at is None else to_milliseconds(message.expires_at),
        encode_message(message, topic),
    )
