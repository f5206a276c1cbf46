"""How often what happens in a world, and in what sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from worker.resume import Beginning


@dataclass(frozen=True)
class Profile:
    """Weights of events, chances, and sizes.

    steps: fewest and most events of a random run. records: a log begins with fewer than this.
    failures, repeats: chance, per call, that it fails, and that it arrives again later.
    unread: chance that retention eats unread records. lower_starts: chance that the group's
    offset is moved just before an assignment. calls_at_first: how many calls of a new
    actor are made before anybody else's.
    """

    weights: Mapping[str, float]
    steps: tuple[int, int] = (80, 240)
    partitions: tuple[int, ...] = (1, 1, 2)
    windows: tuple[int, ...] = (4, 8, 16)
    beginnings: tuple[Beginning, ...] = (Beginning.EARLIEST, Beginning.LATEST, Beginning.GROUP)
    records: int = 30
    retention_step: int = 8
    failures: float = 0.04
    repeats: float = 0.05
    unread: float = 0.2
    lower_starts: float = 0.3
    workers_max: int = 4
    works_at_once: int = 2
    calls_at_first: tuple[int, ...] = (0, 3, 50, 50)


#: All that can happen.
EVERYTHING = Profile({
    "produce": 5, "assign": 8, "work": 40, "commit": 10, "kill": 2, "arrive": 3,
    "advance": 10, "hurry": 20, "fetch": 10, "look": 5, "ack": 14, "give_up": 2,
    "retention": 3, "time": 0.3, "group": 5, "rewind": 1, "skip": 0.7, "epoch": 0.4,
})  # fmt: skip

#: Many lives over the same offsets.
REPLAYS = Profile(
    {
        "produce": 2, "assign": 12, "work": 50, "commit": 20, "arrive": 2, "hurry": 15,
        "look": 1, "fetch": 2, "ack": 2, "retention": 2, "rewind": 2, "give_up": 1,
    },
    partitions=(1,), windows=(8, 16), beginnings=(Beginning.EARLIEST,), records=40,
    failures=0.02, retention_step=4, lower_starts=0.7, workers_max=3,
)  # fmt: skip
