"""A `Metrics` that keeps what mailboxes report."""

from collections.abc import Sequence
from typing import NamedTuple

from poste_restante.metrics import (
    METHODS,
    CallEnded,
    Load,
    NoMetrics,
    Operation,
    Outcome,
    PageRead,
    StoreCallEnded,
    StoreOperation,
    StoreOutcome,
)


class RecordedMetrics(NoMetrics):
    """Everything in order, call by call."""

    def __init__(self) -> None:
        self.loads: list[Load] = []
        self.started: list[object] = []
        self.calls: list[CallEnded] = []
        self.store_calls: list[StoreCallEnded] = []
        self.reasons: list[str] = []

    def opened(self, load: Load) -> None:
        self.loads.append(load)

    def closed(self, load: Load) -> None:
        self.loads.remove(load)

    def call_started(self, operation: Operation) -> object:
        self.started.append((operation, len(self.started)))
        return self.started[-1]

    def call_ended(self, started: object, call: CallEnded) -> None:
        if started is not None:
            self.started.remove(started)
        self.calls.append(call)

    def store_call_ended(self, call: StoreCallEnded) -> None:
        self.store_calls.append(call)

    def throttled(self, reasons: Sequence[str]) -> None:
        self.reasons += reasons

    def ended(self) -> list[tuple[Operation, Outcome]]:
        """The calls, and how they ended."""
        return [(call.operation, call.outcome) for call in self.calls]

    def pages(self) -> list[PageRead | None]:
        return [call.page for call in self.calls if call.operation is Operation.FETCH]

    def stored(self) -> list[tuple[StoreOperation, StoreOutcome]]:
        """The calls to DynamoDB, and how they ended."""
        return [(call.operation, call.outcome) for call in self.store_calls]

    def forget(self) -> None:
        self.calls.clear()
        self.store_calls.clear()
        self.reasons.clear()


class Raised(NamedTuple):
    """Where an object raised."""

    method: str


class RaisingMetrics(RecordedMetrics):
    """Raises in one method, or in all of them. raised: where it did."""

    def __init__(self, *methods: str) -> None:
        super().__init__()
        self.raised: list[Raised] = []
        for name in methods or METHODS:
            setattr(self, name, self._raiser(name))

    def _raiser(self, name: str) -> object:
        def raises(*_: object) -> None:
            self.raised.append(Raised(name))
            raise LookupError(f"no such metric: {name}")

        return raises
