"""One line of JSON for every run, one for the end of every sweep, and one for all of them."""

import json
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO


@dataclass(frozen=True, slots=True)
class Case:
    """One sweep: n = 1, 2, ... until a run meets no fault. kind: of fault, or the step."""

    sweep: str
    kind: str
    persistent: bool = False

    @property
    def name(self) -> str:
        return f"{self.sweep}/{self.kind}/{'persistent' if self.persistent else 'transient'}"


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to.

    number: n. injected: faults by what they met; none: the fault was never met. exits: status
    of every process that ended. wrong: what was not as it must be; empty: all was well. audit:
    the verdict's own line, decoded.
    """

    case: Case
    number: int
    injected: Mapping[str, int]
    exits: tuple[int, ...] = ()
    wrong: str = ""
    audit: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def met(self) -> bool:
        return sum(self.injected.values()) > 0

    @property
    def clean(self) -> bool:
        return not self.wrong and bool(self.audit.get("clean"))

    def line(self) -> dict[str, Any]:
        mode = "persistent" if self.case.persistent else "transient"
        return {
            "sweep": self.case.sweep,
            "fault": self.case.kind,
            "mode": mode,
            "n": self.number,
            "met": self.met,
            "injected": dict(self.injected),
            "exits": list(self.exits),
            "clean": self.clean,
            **({"wrong": self.wrong} if self.wrong else {}),
            "audit": dict(self.audit),
            "seconds": round(self.seconds, 1),
        }


class Report:
    """Prints lines as runs end, and keeps what the summary needs."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._lock = threading.Lock()
        self.runs: list[Run] = []
        #: How many runs of each sweep have met their fault.
        self.ends: dict[Case, int] = {}
        self.audits: list[Mapping[str, Any]] = []
        self.failures: list[str] = []

    def add(self, run: Run) -> None:
        self.runs.append(run)
        if not run.clean:
            self.failures.append(f"{run.case.name} n={run.number}: {run.wrong or 'the audit'}")
        self._print(run.line())

    def end(self, case: Case, met: int, *, wrong: str = "") -> None:
        """A sweep has ended: runs 1 to `met` have met the fault, and the one after them not."""
        self.ends[case] = met
        if not met:
            wrong = wrong or "the fault was never met"
        if wrong:
            self.failures.append(f"{case.name}: {wrong}")
        self._print({"end": case.name, "runs_met": met, **({"wrong": wrong} if wrong else {})})

    def audit(self, name: str, verdict: Mapping[str, Any]) -> None:
        """Of runs that share a topic and a table, when all of them are over."""
        self.audits.append(verdict)
        if not verdict["clean"]:
            self.failures.append(f"{name}: the audit")
        self._print({"audit": name, **verdict})

    @property
    def passed(self) -> bool:
        return not self.failures and bool(self.runs)

    def summary(self, *, seed: int, seconds: float) -> dict[str, Any]:
        injected: Counter[str] = Counter()
        for run in self.runs:
            injected[f"{run.case.sweep}: {run.case.kind}"] += sum(run.injected.values())
        counts = ("records", "lost", "echoed", "doubled")
        audits = [*self.audits, *(run.audit for run in self.runs)]
        return {
            "summary": "sweeps",
            "passed": self.passed,
            "seed": seed,
            "sweeps": len(self.ends),
            "runs": len(self.runs),
            "faults": sum(injected.values()),
            "injected": dict(sorted(injected.items())),
            "exits": dict(Counter(str(status) for run in self.runs for status in run.exits)),
            **{name: sum(int(audit.get(name, 0)) for audit in audits) for name in counts},
            "failures": self.failures,
            "seconds": round(seconds),
        }

    def print_summary(self, *, seed: int, seconds: float) -> None:
        self._print(self.summary(seed=seed, seconds=seconds))

    def _print(self, line: Mapping[str, Any]) -> None:
        with self._lock:
            print(json.dumps(line), file=self._out, flush=True)
