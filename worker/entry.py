"""A message as stored in its bundle: one element of the item's `messages`, in JSON. Pure.

The decoder makes it, so that later stages handle one text and a few numbers, whatever the record
carried. It equals botocore's JSON of `encode_message`, without spaces
(tests/unit/test_encoding.py).
"""

from binascii import b2a_base64
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple

from poste_restante.item import EPOCH, MICROSECOND, message_bytes_max, to_milliseconds
from poste_restante.message import Header, Message


class Entry(NamedTuple):
    """One message of a mailbox, as stored; its bundle knows the partition log.

    bytes_max: as `message_bytes_max` counts it. expires_at_ms: epoch milliseconds; None: never.
    json: ASCII.
    """

    user_id: str
    offset: int
    bytes_max: int
    expires_at_ms: int | None
    json: str


def entry_of(message: Message, topic: str) -> Entry:
    """Return the entry of a message. Raises UnicodeEncodeError for a text with a lone surrogate."""
    expires_at = message.expires_at
    expires_at_ms = None if expires_at is None else to_milliseconds(expires_at)
    offset = message.position.offset
    text = f'{{"M":{{"o":{{"N":"{offset}"}},"b":{{"B":"{base64(message.body)}"}}'
    if message.id != message.position.id(topic):
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
    if expires_at_ms is not None:
        text += f',"e":{{"N":"{expires_at_ms}"}}'
    size = message_bytes_max(message)
    return Entry(message.user_id, offset, size, expires_at_ms, text + "}}")


def _header(header: Header) -> str:
    name, value = header
    second = '{"NULL":true}' if value is None else f'{{"B":"{base64(value)}"}}'
    return f'{{"S":{quoted(name)}}},{second}'


def base64(content: bytes) -> str:
    return b2a_base64(content, newline=False).decode("ascii")
