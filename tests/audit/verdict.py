"""What the auditor says in the end."""

import json
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: Examples kept of each kind: enough to see a pattern, few enough to read.
EXAMPLES_MAX = 10


class ViolationKind(StrEnum):
    """The kinds of violation.

    LOST: in the log, in no mailbox, not acknowledged, no dead letter; or acknowledged by the
    broker and not in the log. ECHOED: came back after its acknowledgement. DOUBLED, OUT_OF_ORDER:
    within one reading. HIDDEN: skipped by a reading, or covered by an acknowledgement although
    nobody was shown it. ALTERED: shown as something else than the log holds there.
    DEAD_WITHOUT_CAUSE: a good record among the dead letters. DEAD_MISSING: a bad one that is not.
    COMMITTED_PAST: the group's offset or the progress was above what was not durable. NOT_FRESH:
    a reading lacked what had been appended before the instant up to which it was said complete.
    """

    LOST = "lost"
    ECHOED = "echoed"
    DOUBLED = "doubled"
    OUT_OF_ORDER = "out_of_order"
    HIDDEN = "hidden"
    ALTERED = "altered"
    DEAD_WITHOUT_CAUSE = "dead_without_cause"
    DEAD_MISSING = "dead_missing"
    COMMITTED_PAST = "committed_past"
    NOT_FRESH = "not_fresh"


@dataclass
class Verdict:
    """Counts, and examples of what is wrong.

    records: in the log. readings: that began at the head of a mailbox. proofs: readings to the
    mailbox's end that were said to be complete up to an instant. unanswered: fetches that failed.
    observations: looks at what is committed while it is durable; missed: looks that could not be
    had. checked: records of which an observation has seen that they were durable when committed.
    blind: watched, and saw nothing.
    """

    records: int = 0
    fetches: int = 0
    unanswered: int = 0
    readings: int = 0
    proofs: int = 0
    acks: int = 0
    acks_unknown: int = 0
    dead_letters: int = 0
    observations: int = 0
    missed: int = 0
    missed_why: Counter[str] = field(default_factory=Counter)
    checked: int = 0
    blind: bool = False
    counts: Counter[ViolationKind] = field(default_factory=Counter)
    examples: dict[ViolationKind, list[str]] = field(default_factory=dict)

    def found(self, kind: ViolationKind, example: str) -> None:
        self.counts[kind] += 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < EXAMPLES_MAX:
            examples.append(example)

    def add(self, other: "Verdict") -> None:
        """The violations of another one."""
        self.counts.update(other.counts)
        for kind, examples in other.examples.items():
            mine = self.examples.setdefault(kind, [])
            mine += examples[: EXAMPLES_MAX - len(mine)]

    @property
    def clean(self) -> bool:
        """Nothing is wrong, and it was looked."""
        return not self.counts.total() and self.observations > 0 and not self.blind

    def figures(self) -> dict[str, Any]:
        """Every number, every kind, and the examples if there are any."""
        numbers = (
            "records", "fetches", "unanswered", "readings", "proofs", "acks", "acks_unknown",
            "dead_letters", "observations", "missed", "missed_why", "checked", "blind",
        )  # fmt: skip
        figures: dict[str, Any] = {
            "clean": self.clean,
            **{name: getattr(self, name) for name in numbers},
            **{kind.value: self.counts[kind] for kind in ViolationKind},
        }
        if self.examples:
            figures["examples"] = {kind.value: found for kind, found in self.examples.items()}
        return figures

    def line(self) -> str:
        """The figures as one line of JSON."""
        return json.dumps(self.figures())

    def __getattr__(self, name: str) -> int:
        """`verdict.lost`, and so on: the count of a kind."""
        try:
            return self.counts[ViolationKind(name)]
        except ValueError:
            raise AttributeError(name) from None


def assert_clean(verdict: Verdict) -> None:
    """Fails with the verdict's own line."""
    assert verdict.clean, verdict.line()
