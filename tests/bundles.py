"""Bundles of whatever records can carry, for hypothesis."""

from datetime import UTC

from hypothesis import strategies as st

from poste_restante.message import Message
from poste_restante.position import Position, window_start
from tests.records import TOPIC

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
