"""How often what happens in a world, and in what sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from worker.resume import Beginning


@dataclass(frozen=True)
class Profile:
    """Weights of events, chances, and sizes.

    steps: fewest and most events of a random run. records: with how many a log begins.
    failures, repeats: chance, per call, that it fails, and that it arrives again later.
    unread: chance that retention eats unread records. bundles: messages of one, at most.
    commits: chance that a piece of work is committed. lower_starts: chance that the group's
    offset is moved just before an assignment. calls_at_first: how many calls of a new actor are
    made before anybody else's. devices: whether there are some. deletes: chance that what was
    acknowledged is deleted.
    """

    name: str
    weights: Mapping[str, float]
    steps: tuple[int, int] = (80, 240)
    partitions: tuple[int, ...] = (1, 1, 2)
    windows: tuple[int, ...] = (4, 8, 16)
    beginnings: tuple[Beginning, ...] = (Beginning.EARLIEST, Beginning.LATEST, Beginning.GROUP)
    records: tuple[int, int] = (0, 30)
    retention_step: int = 8
    failures: float = 0.04
    repeats: float = 0.05
    unread: float = 0.2
    bundles: tuple[int, ...] = (1, 2, 3, 5, 7)
    commits: float = 0.2
    lower_starts: float = 0.3
    workers_max: int = 4
    works_at_once: int = 2
    devices: bool = False
    deletes: float = 0
    calls_at_first: tuple[int, ...] = (0, 3, 50, 50)


#: All that can happen.
EVERYTHING = Profile("everything", {
    "produce": 5, "assign": 8, "work": 40, "commit": 10, "kill": 2, "arrive": 3,
    "advance": 10, "hurry": 20, "fetch": 10, "look": 5, "ack": 14, "give_up": 2,
    "retention": 3, "time": 0.3, "group": 5, "rewind": 1, "skip": 0.7, "epoch": 0.4, "device": 1,
}, devices=True, deletes=0.3)  # fmt: skip

#: Many partition tasks over the same offsets, at which the group's offset was set by somebody.
REPLAYS = Profile(
    "replays",
    {
        "produce": 1, "assign": 14, "work": 60, "commit": 5, "arrive": 2, "hurry": 3,
        "look": 1, "fetch": 1, "ack": 1, "give_up": 0.5,
    },
    steps=(60, 120), partitions=(1,), windows=(8, 16), beginnings=(Beginning.EARLIEST,),
    records=(50, 90), failures=0.01, retention_step=12, lower_starts=0.7, workers_max=2,
    works_at_once=1, calls_at_first=(2, 50, 50, 50, 50), unread=0, bundles=(2, 4, 7), commits=0.6,
)  # fmt: skip

#: The operator goes back.
REWINDS = replace(
    REPLAYS, name="rewinds", weights={**REPLAYS.weights, "rewind": 8}, lower_starts=0.1
)

#: The operator goes forward, and somebody back.
SKIPS = replace(REPLAYS, name="skips", weights={**REPLAYS.weights, "skip": 2, "ack": 6, "fetch": 6})

#: Readers follow closely.
PAGES = replace(REPLAYS, name="pages",
    weights={**REPLAYS.weights, "assign": 8, "fetch": 25, "look": 15},
    workers_max=3, windows=(16,), bundles=(1, 7), commits=0.9,
)  # fmt: skip

#: Retention follows closely.
RETENTION = replace(REPLAYS, name="retention",
    weights={**REPLAYS.weights, "retention": 8, "assign": 9},
    bundles=(7,), windows=(16,),
)  # fmt: skip

#: The log's and the table's beginnings.
BEGINNINGS = replace(EVERYTHING, name="beginnings",
    weights={**EVERYTHING.weights, "produce": 15, "assign": 16, "epoch": 3, "kill": 5},
    steps=(50, 120), beginnings=(Beginning.LATEST, Beginning.GROUP), calls_at_first=(0, 3, 50),
    partitions=(1,), records=(5, 15), commits=0.5,
)  # fmt: skip

#: Calls fail, and flushes are cut off.
FAILURES = replace(
    EVERYTHING,
    name="failures",
    weights={**EVERYTHING.weights, "give_up": 10},
    failures=0.15,
    repeats=0.1,
)

#: Devices come and go, read and acknowledge, side by side.
DEVICES = replace(PAGES, name="devices",
    weights={**PAGES.weights, "ack": 18, "fetch": 30, "look": 20, "device": 6, "rewind": 1},
    devices=True, partitions=(1, 2, 2), records=(20, 50),
)  # fmt: skip

#: The same, and what was acknowledged is deleted.
DELETING = replace(DEVICES, name="deleting", deletes=1.0, failures=0.05)
