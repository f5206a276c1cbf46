"""What was acknowledged, what was shown when, and what each device was told. Pure."""

import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

#: Seconds, with the device connected, from an acknowledgement until a message is shown: twice the
#: session time-out of a killed worker (6 s), the start of its successor and the rebalance, since
#: one kill may come in the pause of another, on a busy machine.
LATE_S_MAX = 40.0


class Device(NamedTuple):
    user: str
    name: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A message. number: its place among its source's messages to the user. grace_s: how long after
    a registration its producer may still take the user for offline."""

    user: str
    source: str
    number: int
    grace_s: float = 0.0


@dataclass(slots=True)
class Connection:
    """begun_s: before the device asked for it. up_to_date_s: when it was told so. Seconds of one
    clock; None: not yet, or never."""

    begun_s: float
    up_to_date_s: float | None = None
    ended_s: float | None = None


@dataclass(frozen=True)
class Figures:
    """missing: pairs of device and message that were not on the screen when the device was told
    that it is up to date. worst_s: of what was shown. proof_s: medians and maxima of the seconds
    until a device was told so."""

    connections: int
    up_to_date: int
    expected: int
    shown: int
    missing: int
    never: int
    reordered: int
    late: int
    worst_s: float
    proof_median_s: float
    proof_max_s: float

    @property
    def clean(self) -> bool:
        return self.missing == self.never == self.reordered == self.late == 0 < self.up_to_date


@dataclass
class Ledger:
    """One gateway's run. Every device has to show every acknowledged message of its user."""

    devices: tuple[Device, ...]
    acknowledged: dict[Sent, float] = field(default_factory=dict)
    shown: dict[Device, dict[Sent, float]] = field(default_factory=lambda: defaultdict(dict))
    connections: dict[Device, list[Connection]] = field(default_factory=lambda: defaultdict(list))
    reordered: int = 0
    _last: dict[tuple[Device, str], int] = field(default_factory=dict)

    def acknowledge(self, sent: Sent, now_s: float) -> None:
        self.acknowledged.setdefault(sent, now_s)

    def show(self, device: Device, user: str, source: str, number: int, now_s: float) -> None:
        """A device has put it on its screen, for the first time."""
        before = self._last.get((device, source), -1)
        self.reordered += number < before
        self._last[device, source] = max(number, before)
        self.shown[device][Sent(user, source, number)] = now_s

    def missing_now(self) -> int:
        """Pairs of device and acknowledged message that are not on a screen."""
        return sum(1 for _ in self._unseen())

    def figures(self, end_s: float) -> Figures:
        waits = [self._wait_s(*pair, end_s) for pair in self._expected()]
        connections = [c for found in self.connections.values() for c in found]
        proofs = [c.up_to_date_s - c.begun_s for c in connections if c.up_to_date_s is not None]
        never = self.missing_now()
        return Figures(
            connections=len(connections), up_to_date=len(proofs), expected=len(waits),
            shown=len(waits) - never, never=never, reordered=self.reordered,
            missing=sum(1 for device in self.devices for _ in self._missing(device)),
            late=sum(wait_s > LATE_S_MAX for wait_s in waits), worst_s=max(waits, default=0.0),
            proof_median_s=statistics.median(proofs) if proofs else 0.0,
            proof_max_s=max(proofs, default=0.0),
        )  # fmt: skip

    def describe_missing(self) -> list[str]:
        """What is on no screen, a line each, with the device's last connection."""
        found = []
        for device, sent in self._unseen():
            last = self.connections[device][-1] if self.connections[device] else None
            found.append(
                f"{device.user}/{device.name} has not {sent.source} {sent.number}, acknowledged at"
                f" {self.acknowledged[sent]:.2f}; last connection: {last}"
            )
        return found

    def _expected(self) -> Iterator[tuple[Device, Sent]]:
        for device in self.devices:
            yield from ((device, sent) for sent in self.acknowledged if sent.user == device.user)

    def _shown_s(self, device: Device, sent: Sent) -> float | None:
        return self.shown[device].get(Sent(sent.user, sent.source, sent.number))

    def _unseen(self) -> Iterator[tuple[Device, Sent]]:
        return (pair for pair in self._expected() if self._shown_s(*pair) is None)

    def _missing(self, device: Device) -> Iterator[Sent]:
        """What a device had not when it was told, for the first time, that it had all."""
        told = [c for c in self.connections[device] if c.up_to_date_s is not None]
        for sent, acknowledged_s in self.acknowledged.items():
            shown_s = self._shown_s(device, sent)
            if sent.user == device.user and any(
                acknowledged_s <= min(c.begun_s + sent.grace_s, c.up_to_date_s)
                and (shown_s is None or shown_s > c.up_to_date_s)
                for c in told
                if c.up_to_date_s is not None
            ):
                yield sent

    def _wait_s(self, device: Device, sent: Sent, end_s: float) -> float:
        """Seconds, with the device connected, from the acknowledgement until it was shown."""
        begin_s, shown_s = self.acknowledged[sent], self._shown_s(device, sent)
        until_s = end_s if shown_s is None else shown_s
        return sum(
            max(
                0.0,
                min(until_s, end_s if c.ended_s is None else c.ended_s) - max(begin_s, c.begun_s),
            )
            for c in self.connections[device]
        )
