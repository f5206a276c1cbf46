"""The workers of a storm: started, and started again whenever they leave, as orchestrators do."""

import asyncio
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.child import Child
from tests.preloaded import PreloadedChild

#: Workers at the same time.
WORKERS_MAX = 4
#: Seconds between two looks at the children.
_LOOK_S = 0.1
#: Seconds until a worker that left is started again: doubling, back to the first after a run
#: that lasted, so that a store that refuses everybody does not make a busy loop of starts.
BACKOFF_S_MIN, BACKOFF_S_MAX, LASTED_S = 0.3, 5.0, 15.0

#: What the workers get on SIGTERM: short, so that a storm has many starts.
DRAIN_S, LEAVE_S = 4.0, 6.0
#: Seconds beyond these two for a machine with other things to do; a worker that is there any
#: longer after SIGTERM has hung, which is a violation (G8).
LEAVE_SPARE_S = 15.0

#: Limits of a worker: records of a batch, messages and bytes of a bundle. They differ between
#: workers and starts, and change what no key holds. Small bundles go with small batches: a hot
#: user's batch is written one bundle after the other.
LIMITS = [
    (5_000, 100, 65_536), (5_000, 100, 65_536), (5_000, 100, 65_536),
    (2_000, 40, 16_384), (500, 15, 4_096), (100, 7, 1_500), (40, 1, 65_536),
]  # fmt: skip


def limits_environment(records: int, messages: int, size: int) -> dict[str, str]:
    return {
        "POSTE_BATCH__RECORDS_MAX": str(records),
        "POSTE_BUNDLE__MESSAGES_MAX": str(messages),
        "POSTE_BUNDLE__BYTES_MAX": str(size),
    }


@dataclass(eq=False)
class Slot:
    """A place for one worker. wanted: is started again when it leaves. frozen: SIGSTOP."""

    number: int
    child: Child | None = None
    wanted: bool = True
    frozen: bool = False
    tasks: int = 0
    started_s: float = 0.0
    start_at_s: float = 0.0
    backoff_s: float = BACKOFF_S_MIN
    terminated_s: float | None = None

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.alive

    @property
    def awake(self) -> bool:
        return self.alive and not self.frozen

    @property
    def reads(self) -> bool:
        """It has come so far as to read a partition; it may have lost it since."""
        return self.child is not None and "reading from offset" in self.child.output()


@dataclass
class Supervisor:
    """Keeps the wanted workers running. say: prints one line.

    left: exits by status, negative ones by signal. overstayed: workers that had not left in time
    after SIGTERM, by name: killed then.
    """

    environment: Mapping[str, str]
    directory: Path
    draws: random.Random
    say: Callable[[str], None]
    slots: list[Slot] = field(default_factory=list)
    left: Counter[int] = field(default_factory=Counter)
    overstayed: list[str] = field(default_factory=list)
    restarts: int = 0
    #: Set for the drain: every new worker has the default limits, so that it comes to an end.
    calm: bool = False
    #: While it is not set nobody is started: the group is being moved.
    may_start: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_start.set()
        self.slots = [Slot(number, wanted=False) for number in range(WORKERS_MAX)]

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            for slot in self.slots:
                self._look(slot)
            await asyncio.sleep(_LOOK_S)

    def _look(self, slot: Slot) -> None:
        now_s = time.monotonic()
        if slot.alive:
            self._must_leave(slot, now_s)
            return
        if slot.child is not None:
            self._has_left(slot, now_s)
        if slot.wanted and self.may_start.is_set() and now_s >= slot.start_at_s:
            self._start(slot, now_s)

    def _must_leave(self, slot: Slot, now_s: float) -> None:
        limit_s = DRAIN_S + LEAVE_S + LEAVE_SPARE_S
        if slot.terminated_s is None or slot.frozen or now_s - slot.terminated_s < limit_s:
            return
        assert slot.child is not None
        self.overstayed.append(slot.child.log.name)
        self.say(f"{slot.child.log.name}: still there {limit_s:.0f} s after SIGTERM")
        slot.child.signal(signal.SIGKILL)
        slot.terminated_s = None

    def _has_left(self, slot: Slot, now_s: float) -> None:
        assert slot.child is not None
        status = slot.child.wait()
        slot.child.kill()  # reaps, and forgets it
        self.left[status] += 1
        if slot.terminated_s is None and status != -signal.SIGKILL:
            self.say(f"{slot.child.log.name} left with status {status}: {_why(slot.child)}")
        slot.child, slot.frozen, slot.terminated_s = None, False, None
        lasted = now_s - slot.started_s > LASTED_S
        slot.backoff_s = BACKOFF_S_MIN if lasted else min(2 * slot.backoff_s, BACKOFF_S_MAX)
        slot.start_at_s = now_s + slot.backoff_s

    def _start(self, slot: Slot, now_s: float) -> None:
        slot.tasks += 1
        self.restarts += slot.tasks > 1
        limits = LIMITS[0] if self.calm else self.draws.choice(LIMITS)
        slot.child = PreloadedChild(
            [sys.executable, "-m", "tests.storm.worker"],
            log=self.directory / f"worker-{slot.number}-{slot.tasks}.log",
            env={
                **self.environment, **limits_environment(*limits),
                "POSTE_DRAIN_S": str(DRAIN_S), "POSTE_LEAVE_S": str(LEAVE_S),
                "POSTE_KAFKA__CLIENT_ID": f"worker-{slot.number}-{slot.tasks}",
            },
        )  # fmt: skip
        slot.child.start()
        slot.started_s = now_s

    # ---- what events do

    def awake(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.awake]

    def wanted(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.wanted]

    def join(self) -> Slot | None:
        """One worker more; None where there are as many as may be."""
        for slot in self.slots:
            if not slot.wanted and not slot.alive:
                slot.wanted, slot.start_at_s = True, 0.0
                return slot
        return None

    def terminate(self, slot: Slot) -> None:
        """SIGTERM; it must leave within its limits."""
        if slot.alive and slot.terminated_s is None:
            assert slot.child is not None
            slot.terminated_s = time.monotonic()
            slot.child.signal(signal.SIGTERM)

    def kill(self, slot: Slot) -> None:
        if slot.child is not None:
            slot.child.signal(signal.SIGKILL)

    def freeze(self, slot: Slot) -> None:
        if slot.child is not None:
            slot.child.signal(signal.SIGSTOP)
            slot.frozen = True

    def thaw(self, slot: Slot) -> None:
        """It goes on, and if it was told to leave meanwhile, its time to do so begins now."""
        if slot.child is not None and slot.frozen:
            slot.frozen = False
            if slot.terminated_s is not None:
                slot.terminated_s = time.monotonic()
            slot.child.signal(signal.SIGCONT)

    async def leave(self) -> None:
        """All are told to leave; returns when they have. `run` goes on meanwhile."""
        for slot in self.slots:
            slot.wanted = False
            self.terminate(slot)
        while any(slot.child is not None for slot in self.slots):  # noqa: ASYNC110 - as all looks
            await asyncio.sleep(_LOOK_S)

    def end(self) -> None:
        """Nobody is left."""
        for slot in self.slots:
            slot.wanted = False
            if slot.child is not None:
                slot.child.kill()


def _why(child: Child) -> str:
    """The last line of a log that gives a reason; not the client library's troubles."""
    lines = [line.strip()[:300] for line in child.output().splitlines()]
    for marks in (("Crashed reason", "ERROR mode", "ERROR faust.worker"), ("ERROR", "Error")):
        for line in reversed(lines):
            if any(mark in line for mark in marks) and "aiokafka" not in line:
                return line
    return "(it did not say)"
