"""What a storm does, in which order: drawn from its seed alone. Pure."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """What happens to the workers, the broker, the store, the readers' store and the group."""

    JOIN = "join"
    TERMINATE = "terminate"
    KILL = "kill"
    FREEZE = "freeze"
    BROKER_KILLED = "broker_killed"
    BROKER_HUNG = "broker_hung"
    STORE_OUTAGE = "store_outage"
    STORE_HUNG = "store_hung"
    ACCESS_DENIED = "access_denied"
    READERS_OUTAGE = "readers_outage"
    REWIND_TO_OFFSET = "rewind_to_offset"
    REWIND_SHIFT_BY = "rewind_shift_by"
    REWIND_TO_EARLIEST = "rewind_to_earliest"
    POSTE_REWIND = "poste_rewind"


REWINDS = frozenset(
    {
        EventKind.REWIND_TO_OFFSET,
        EventKind.REWIND_SHIFT_BY,
        EventKind.REWIND_TO_EARLIEST,
        EventKind.POSTE_REWIND,
    }
)

#: How often each kind is in a deck; a deck is dealt to its end before the next one is shuffled,
#: so that a storm of some minutes meets every kind.
DECK = Counter({
    **dict.fromkeys(EventKind, 1),
    EventKind.JOIN: 4, EventKind.TERMINATE: 4, EventKind.KILL: 5, EventKind.FREEZE: 4,
})  # fmt: skip

#: Seconds without a heartbeat until the partitions of a worker move on: the broker's minimum.
SESSION_S = 6.0
#: Seconds that each lasting event lasts, at least and at most. A freeze and an outage of the store
#: outlast the session; a broker away for longer than that is a broker_killed (it takes seconds
#: to start) in a bad moment.
LASTS_S = {
    EventKind.FREEZE: (SESSION_S + 1.5, SESSION_S + 8.0),
    EventKind.BROKER_KILLED: (0.0, 4.0),
    EventKind.BROKER_HUNG: (2.0, SESSION_S + 4.0),
    EventKind.STORE_OUTAGE: (SESSION_S + 1.5, SESSION_S + 8.0),
    EventKind.STORE_HUNG: (3.0, SESSION_S + 6.0),
    EventKind.ACCESS_DENIED: (3.0, 8.0),
    EventKind.READERS_OUTAGE: (2.0, 8.0),
}
#: Seconds between two events, at least and at most. Many last longer: they overlap.
GAP_S = (0.5, 7.0)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: after_s seconds behind the one before, lasting lasts_s where it lasts.

    draws: decides what the event leaves open (which worker, how far back): its own randomness,
    so that what one event draws does not shift what the others are.
    """

    number: int
    kind: EventKind
    after_s: float
    lasts_s: float
    draws: random.Random

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"event {self.number}: {self.kind}{lasts}"


def script(seed: int) -> Iterator[Event]:
    """The events of a seed, without end."""
    draws = random.Random(f"script {seed}")
    number = 0
    while True:
        deck = list(DECK.elements())
        draws.shuffle(deck)
        for kind in deck:
            number += 1
            yield Event(
                number, kind,
                after_s=draws.uniform(*GAP_S),
                lasts_s=draws.uniform(*LASTS_S.get(kind, (0.0, 0.0))),
                draws=random.Random(f"event {seed} {number}"),
            )  # fmt: skip
