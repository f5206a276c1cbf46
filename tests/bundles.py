"""Bundles of whatever records can carry, and messages as a bundle holds them."""

from collections.abc import Iterable
from datetime import UTC

from hypothesis import strategies as st

from poste_restante.item import Item, decode_bundle, from_json
from poste_restante.message import Message
from poste_restante.position import Position, window_start
from tests.records import TOPIC
from worker.bundles import Bundle
from worker.dynamodb.puts import encode_put
from worker.entry import Entry, entry_of

TEXTS = st.text(max_size=20)
TIMES = st.datetimes(timezones=st.just(UTC))
#: Expiry is stored in milliseconds, as the decoder makes it.
EXPIRIES = TIMES.map(lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000))


@st.composite
def bundles(draw: st.DrawFn) -> list[Message]:
    """Messages of one mailbox and log in one window, with whatever records can carry."""
    user_id = draw(st.text(min_size=1, max_size=20))
    start = window_start(draw(st.integers(0, 2**63 - 20_000)))
    offsets = sorted(draw(st.sets(st.integers(start, start + 9_999), min_size=1, max_size=4)))
    return [
        Message(
            user_id=user_id,
            id=draw(TEXTS | st.just(f"{TOPIC}/7/3/{offset}")),
            source=draw(st.none() | TEXTS),
            type=draw(st.none() | TEXTS),
            time=draw(st.none() | TIMES),
            content_type=draw(st.none() | TEXTS),
            body=draw(st.binary(max_size=50)),
            headers=tuple(
                draw(st.lists(st.tuples(TEXTS, st.none() | st.binary(max_size=9)), max_size=4))
            ),
            expires_at=draw(st.none() | EXPIRIES),
            position=Position(7, 3, offset),
        )
        for offset in offsets
    ]


def entries_of(messages: Iterable[Message]) -> list[Entry]:
    return [entry_of(message, TOPIC) for message in messages]


def bundle_of(*messages: Message) -> Bundle:
    """A bundle of these messages, whether they are one or not."""
    return Bundle.of(entries_of(messages), messages[0].position.log)


def item_of(bundle: Bundle) -> Item:
    """The item that the worker writes, as a client reads it."""
    item: Item = from_json(encode_put(bundle).json)["PutRequest"]["Item"]
    return item


def messages_of(bundle: Bundle) -> list[Message]:
    """What a reader finds in a bundle that was written."""
    return decode_bundle(item_of(bundle), bundle.user_id, TOPIC)
