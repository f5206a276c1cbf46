"""What is sent when: phases of load and silence, and what is said of the waits. Pure.

The schedule is made beforehand, by the producer and by who measures alike: a message is late from
the moment it was due, also where the producer itself was held up (no coordinated omission).
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, NamedTuple

#: A chat message with its envelope; the first bytes are the message's number.
BODY_BYTES, NUMBER_DIGITS = 300, 12
#: The chatty mix: conversations, and the exponent of the Zipf distribution of their messages.
CHATTY_USERS, CHATTY_EXPONENT = 10_000, 1.2
#: Below this many times the inverse of its tail, a percentile is one message's luck and not said:
#: ten messages lie above it.
_ABOVE_MIN = 10


class Due(NamedTuple):
    """One message. at_s: from the begin of the load. phase: the number of its phase."""

    at_s: float
    user: str
    phase: int


@dataclass(frozen=True, slots=True)
class Phase:
    """Seconds of a load. per_s: 0 is silence. at_once: before it, all due at its begin.

    chatty: few users have most messages; else each message goes to another user.
    """

    seconds: float
    per_s: float = 0.0
    at_once: int = 0
    chatty: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def schedule(phases: Sequence[Phase]) -> Iterator[Due]:
    """Every message, in the order it is due; its number is its place."""
    weights = list(accumulate(n**-CHATTY_EXPONENT for n in range(1, CHATTY_USERS + 1)))
    drawing = random.Random(7)
    begin_s, number = 0.0, 0
    for place, phase in enumerate(phases):
        evenly = (n / phase.per_s for n in range(round(phase.seconds * phase.per_s)))
        for after_s in (*[0.0] * phase.at_once, *evenly):
            who = number
            if phase.chatty:
                (who,) = drawing.choices(range(CHATTY_USERS), cum_weights=weights)
            yield Due(begin_s + after_s, f"{'chat' if phase.chatty else 'user'}-{who:010}", place)
            number += 1
        begin_s += phase.seconds


def body(number: int) -> bytes:
    return (b"%0*d " % (NUMBER_DIGITS, number)).ljust(BODY_BYTES, b"x")


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that this share of them does not exceed. ordered: ascending.

    None where fewer than ten values lie above it, but for the median: luck, and no percentile.
    """
    if share > 0.5 and len(ordered) * (1 - share) < _ABOVE_MIN - 1e-6:
        return None
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def summary(waits_s: Sequence[float]) -> dict[str, Any]:
    """Of waits in seconds: how many, and milliseconds. Raises ValueError where there are none."""
    if not waits_s:
        raise ValueError("there is no wait to speak of")
    ordered = sorted(waits_s)
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}
    found = {name: percentile(ordered, share) for name, share in shares.items()}
    return {
        "messages": len(ordered),
        **{name: None if s is None else round(s * 1000, 2) for name, s in found.items()},
        "max_ms": round(ordered[-1] * 1000, 2),
    }


def around(
    due_s: Sequence[float], waits_s: Sequence[float], moments_s: Sequence[float], *, near_s: float
) -> tuple[list[float], list[float]]:
    """The waits of what was due at most `near_s` from one of these moments, and the others."""
    near: list[float] = []
    far: list[float] = []
    for at_s, wait_s in zip(due_s, waits_s, strict=True):
        close = any(abs(at_s - moment) <= near_s for moment in moments_s)
        (near if close else far).append(wait_s)
    return near, far


def settled_after_s(
    due_s: Sequence[float], waits_s: Sequence[float], *, from_s: float, limit_s: float
) -> float:
    """Seconds from a moment on until the last message was due that waited longer than the limit."""
    late = [at for at, wait in zip(due_s, waits_s, strict=True) if at >= from_s and wait > limit_s]
    return max(late, default=from_s) - from_s
