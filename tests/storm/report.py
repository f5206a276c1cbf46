"""The end of a storm: one line of figures, and whether all is well."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.audit import Journal, Verdict
from tests.audit.journal import Outcome
from tests.audit.keys import Log
from tests.storm.script import EventKind

#: Seconds from which on a storm must have met every kind of event and every fault.
WHOLE_S = 300


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a storm was, and what the auditor found.

    events: done, by kind. faults: injected, by endpoint and kind. not_met: events and faults that
    were never met. exits: of workers, by status. overstayed:
    workers that had not left in time. drained: all was durable and committed at the end.
    """

    seed: int
    seconds: float
    records: int
    acknowledged: int
    events: Mapping[EventKind, int]
    faults: Mapping[str, Mapping[str, int]]
    restarts: int
    exits: Mapping[int, int]
    overstayed: int
    drained: bool
    not_met: tuple[str, ...]
    verdict: Verdict

    @property
    def ok(self) -> bool:
        met = not self.not_met or self.seconds < WHOLE_S
        return self.verdict.clean and self.drained and self.overstayed == 0 and met

    def line(self) -> str:
        """One line of JSON."""
        figures = {
            "seed": self.seed, "seconds": round(self.seconds), "records": self.records,
            "acknowledged": self.acknowledged, "events": dict(self.events),
            "faults": {name: dict(kinds) for name, kinds in self.faults.items()},
            "restarts": self.restarts, "exits": {str(k): n for k, n in self.exits.items()},
            "overstayed": self.overstayed, "drained": self.drained, "missing": list(self.not_met),
        }  # fmt: skip
        return json.dumps({**figures, **(self.verdict.figures() | figures), "ok": self.ok})


def acknowledged(journal: Journal) -> int:
    """Messages that a reader was shown and whose acknowledgement, or a later one, succeeded."""
    reached: dict[tuple[str, Log], int] = {}
    for ack in journal.acks:
        if ack.outcome is Outcome.CONFIRMED:
            for log, offset in ack.covers.items():
                reached[ack.user, log] = max(offset, reached.get((ack.user, log), -1))
    shown: dict[tuple[str, Log], set[int]] = {}
    for fetch in journal.fetches:
        for log, offsets in fetch.offsets.items():
            shown.setdefault((fetch.user, log), set()).update(offsets)
    return sum(
        sum(offset <= reached.get(place, -1) for offset in offsets)
        for place, offsets in shown.items()
    )


def never_met(
    events: Mapping[EventKind, int],
    faults: Mapping[str, Iterable[str]],
    wanted: Mapping[str, Iterable[str]],
) -> tuple[str, ...]:
    """Kinds of events, and faults of each endpoint, that a whole storm must meet and has not."""
    not_met = [f"event {kind}" for kind in EventKind if not events.get(kind)]
    for name, kinds in wanted.items():
        not_met += [f"{name} {kind}" for kind in kinds if kind not in set(faults[name])]
    return tuple(not_met)
