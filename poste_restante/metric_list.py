"""The reader's metrics: the closed list, and their counting from `Metrics`.

Names follow Prometheus' conventions, with the prefix `poste_reader_`. Both adapters use the same
names, so that one dashboard fits. `python -m worker.metrics_reference` writes the table of
docs/metrics.md from this list.
"""

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence

from poste_restante.metric_types import Kind, Label, Metric
from poste_restante.metrics import (
    CallEnded,
    Load,
    Operation,
    Outcome,
    StoreCallEnded,
    StoreOperation,
    StoreOutcome,
)
from poste_restante.retryable_errors import COUNTED_REASONS

_SECONDS = (
    0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_MESSAGES = (0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0)
_BYTES = (0.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0)

_OPERATION = Label("operation", tuple(str(operation) for operation in Operation))
CALLS = Metric(
    Kind.COUNTER, "poste_reader_calls",
    "Fetches and acknowledgements, by outcome. A page of `pages` is a fetch.",
    labels=(_OPERATION, Label("outcome", tuple(str(outcome) for outcome in Outcome))),
)  # fmt: skip
CALL_SECONDS = Metric(
    Kind.HISTOGRAM, "poste_reader_call_seconds",
    "Seconds of a fetch or an acknowledgement, whatever its outcome.", "seconds",
    (_OPERATION,), _SECONDS,
)  # fmt: skip
PAGE_MESSAGES = Metric(
    Kind.HISTOGRAM, "poste_reader_page_messages", "Messages of a page.", buckets=_MESSAGES
)
PAGE_BYTES = Metric(
    Kind.HISTOGRAM, "poste_reader_page_bytes", "Bytes of the bodies of a page's messages.",
    "bytes", buckets=_BYTES,
)  # fmt: skip
PREFETCHES = Metric(
    Kind.COUNTER, "poste_reader_prefetches",
    "Pages by whether an earlier page's Query had read ahead for them. A page that continues behind"
    " a receipt with a limit, and finds nothing kept, is a miss.",
    labels=(Label("result", ("hit", "miss")),),
)  # fmt: skip

_STORE_OPERATION = Label("operation", tuple(str(operation) for operation in StoreOperation))
STORE_CALLS = Metric(
    Kind.COUNTER, "poste_reader_store_calls",
    "Calls to DynamoDB, by the outcome after the attempts that the client repeats.",
    labels=(_STORE_OPERATION, Label("outcome", tuple(str(outcome) for outcome in StoreOutcome))),
)  # fmt: skip
STORE_CALL_SECONDS = Metric(
    Kind.HISTOGRAM, "poste_reader_store_call_seconds",
    "Seconds of a call to DynamoDB with all its attempts, without the wait for a slot, whatever its"
    " outcome.",
    "seconds", (_STORE_OPERATION,), _SECONDS,
)  # fmt: skip
THROTTLES = Metric(
    Kind.COUNTER, "poste_reader_store_throttles",
    "Throttled attempts and left-over deletes, by DynamoDB's reason, else by its error code.",
    labels=(Label("reason", COUNTED_REASONS),),
)  # fmt: skip
READ_UNITS = Metric(
    Kind.COUNTER, "poste_reader_store_read_units", "Read units, as DynamoDB states them."
)
WRITE_UNITS = Metric(
    Kind.COUNTER, "poste_reader_store_write_units",
    "Write units, as DynamoDB states them: of updates that it made, and of deletes.",
)  # fmt: skip
CALLS_IN_FLIGHT = Metric(
    Kind.GAUGE, "poste_reader_store_calls_in_flight", "Calls to DynamoDB that are under way."
)
CALLS_WAITING = Metric(
    Kind.GAUGE, "poste_reader_store_calls_waiting",
    "Calls to DynamoDB that wait for one of those under way to end.",
)  # fmt: skip
CALLS_LIMIT = Metric(
    Kind.GAUGE, "poste_reader_store_calls_limit",
    "Calls to DynamoDB that may be under way: `connections` of each open mailboxes object.",
)  # fmt: skip

#: Every metric of the read module, in the order of the documents.
METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


class ListedMetrics(ABC):
    """`Metrics` that counts into the list, for a library of metrics. Thread-safe."""

    def __init__(self) -> None:
        #: Weak: mailboxes over a client of their owner report no end.
        self._loads: weakref.WeakSet[Load] = weakref.WeakSet()
        self._loads_lock = threading.Lock()

    @abstractmethod
    def add(self, metric: Metric, amount: float, labels: tuple[str, ...] = ()) -> None:
        """Add to a counter."""

    @abstractmethod
    def observe(self, metric: Metric, value: float, labels: tuple[str, ...] = ()) -> None:
        """Observe a value of a histogram."""

    def load(self) -> dict[Metric, int]:
        """Return the gauges, summed over all open mailboxes."""
        with self._loads_lock:
            loads = list(self._loads)
        return {
            CALLS_IN_FLIGHT: sum(load.in_flight for load in loads),
            CALLS_WAITING: sum(load.waiting for load in loads),
            CALLS_LIMIT: sum(load.limit for load in loads),
        }

    def opened(self, load: Load) -> None:
        with self._loads_lock:
            self._loads.add(load)

    def closed(self, load: Load) -> None:
        with self._loads_lock:
            self._loads.discard(load)

    def call_started(self, operation: Operation) -> object:  # noqa: ARG002 - the protocol's
        return None

    def call_ended(self, started: object, call: CallEnded) -> None:  # noqa: ARG002 - the protocol's
        self.add(CALLS, 1, (call.operation, call.outcome))
        self.observe(CALL_SECONDS, call.seconds, (call.operation,))
        if call.page is not None:
            self.observe(PAGE_MESSAGES, call.page.messages)
            self.observe(PAGE_BYTES, call.page.bytes)
            if call.page.prefetched is not None:
                self.add(PREFETCHES, 1, ("hit" if call.page.prefetched else "miss",))

    def store_call_ended(self, call: StoreCallEnded) -> None:
        self.add(STORE_CALLS, 1, (call.operation, call.outcome))
        self.observe(STORE_CALL_SECONDS, call.seconds, (call.operation,))
        if call.read_units:
            self.add(READ_UNITS, call.read_units)
        if call.write_units:
            self.add(WRITE_UNITS, call.write_units)

    def throttled(self, reasons: Sequence[str]) -> None:
        for reason in reasons:
            self.add(THROTTLES, 1, (reason,))
