"""Measures the calls of mailboxes and reports them to a `Metrics`, whose errors fail no call."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import ClientError

from poste_restante.errors import (
    InvalidReceipt,
    MailboxError,
    StoreUnavailable,
    TableMismatch,
    UnreadableItem,
)
from poste_restante.message import Message
from poste_restante.metrics import (
    CallEnded,
    Load,
    Metrics,
    NoMetrics,
    Operation,
    Outcome,
    PageRead,
    StoreCallEnded,
    StoreOperation,
    StoreOutcome,
)
from poste_restante.retryable_errors import (
    NO_ANSWER,
    UNPROCESSED_ITEMS,
    counted_reason,
    is_throttled,
    throttling_reasons,
)

logger = logging.getLogger(__name__)


class SafeMetrics:
    """A `Metrics` that raises nothing. It logs the first error of the wrapped one."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._has_warned = False

    def opened(self, load: Load) -> None:
        self._report(self._metrics.opened, load)

    def closed(self, load: Load) -> None:
        self._report(self._metrics.closed, load)

    def call_started(self, operation: Operation) -> object:
        return self._report(self._metrics.call_started, operation)

    def call_ended(self, started: object, call: CallEnded) -> None:
        self._report(self._metrics.call_ended, started, call)

    def store_call_ended(self, call: StoreCallEnded) -> None:
        self._report(self._metrics.store_call_ended, call)

    def throttled(self, reasons: Sequence[str]) -> None:
        self._report(self._metrics.throttled, reasons)

    def _report(self, method: Callable[..., object], *arguments: object) -> object:
        try:
            return method(*arguments)
        except Exception as error:
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "metrics are incomplete: %s raised %s: %s; further errors are not logged",
                    getattr(method, "__qualname__", method), type(error).__name__, error,
                    exc_info=True,
                )  # fmt: skip
            return None


class CallMeasurement:
    """Base of measurements, which measures nothing."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """End the call, with its error."""

    def record_page(
        self, messages: Sequence[Message], *, continues: bool, prefetched: bool
    ) -> None:
        """Record the page of a fetch. continues: it follows a receipt, with a limit."""

    def record_answer(self, answer: Any) -> None:
        """Record an answer of DynamoDB."""

    def record_outcome(self, outcome: StoreOutcome) -> None:
        """Record an outcome that no error shows."""


NO_MEASUREMENT = CallMeasurement()


class Meter:
    """Makes measurements. metrics: checked by `arguments.metrics`. clock: seconds."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.perf_counter) -> None:
        #: Whether anything is measured. NoMetrics costs nothing.
        self.is_enabled = type(metrics) is not NoMetrics
        safe = not self.is_enabled or isinstance(metrics, SafeMetrics)
        #: Another meter may report to it too: they log one error together.
        self.metrics = metrics if safe else SafeMetrics(metrics)
        self.clock = clock

    def call(self, operation: Operation) -> CallMeasurement:
        """Measure a call of a gateway."""
        return _GatewayCallMeasurement(self, operation) if self.is_enabled else NO_MEASUREMENT

    def store_call(self, operation: StoreOperation) -> CallMeasurement:
        """Measure a call to DynamoDB that has a slot."""
        return _StoreCallMeasurement(self, operation) if self.is_enabled else NO_MEASUREMENT

    def count_throttled(self, error: BaseException | None) -> None:
        """Count a refused attempt if it was throttled."""
        if self.is_enabled and isinstance(error, ClientError) and is_throttled(error):
            self.metrics.throttled([counted_reason(each) for each in throttling_reasons(error)])


class _GatewayCallMeasurement(CallMeasurement):
    __slots__ = ("_meter", "_operation", "_page", "_started", "_started_s")

    def __init__(self, meter: Meter, operation: Operation) -> None:
        self._meter = meter
        self._operation = operation
        self._page: PageRead | None = None

    def __enter__(self) -> Self:
        self._started = self._meter.metrics.call_started(self._operation)
        self._started_s = self._meter.clock()
        return self

    def record_page(
        self, messages: Sequence[Message], *, continues: bool, prefetched: bool
    ) -> None:
        known = True if prefetched else False if continues else None
        # The only count per message.
        self._page = PageRead(len(messages), sum([len(each.body) for each in messages]), known)

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        seconds = self._meter.clock() - self._started_s
        ended = CallEnded(self._operation, outcome_of(error), seconds, self._page)
        self._meter.metrics.call_ended(self._started, ended)


class _StoreCallMeasurement(CallMeasurement):
    __slots__ = ("_meter", "_operation", "_outcome", "_started_s", "_units")

    def __init__(self, meter: Meter, operation: StoreOperation) -> None:
        self._meter = meter
        self._operation = operation
        self._outcome: StoreOutcome | None = None
        self._units = 0.0

    def __enter__(self) -> Self:
        self._started_s = self._meter.clock()
        return self

    def record_answer(self, answer: Any) -> None:
        self._units = _units(answer)

    def record_outcome(self, outcome: StoreOutcome) -> None:
        self._outcome = outcome

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        seconds = self._meter.clock() - self._started_s
        outcome = store_outcome_of(error) if self._outcome is None else self._outcome
        reads = self._operation is StoreOperation.QUERY
        units = (self._units, 0.0) if reads else (0.0, self._units)
        self._meter.metrics.store_call_ended(
            StoreCallEnded(self._operation, outcome, seconds, *units)
        )
        if outcome is StoreOutcome.PARTIAL:
            self._meter.metrics.throttled([UNPROCESSED_ITEMS])
        elif error is not None:
            self._meter.count_throttled(error.__cause__)


def outcome_of(error: BaseException | None) -> Outcome:
    """Return the outcome of a gateway's call by its error, or None."""
    match error:
        case None:
            return Outcome.OK
        case StoreUnavailable():
            return Outcome.THROTTLED if error.throttled else Outcome.UNAVAILABLE
        case InvalidReceipt():
            return Outcome.INVALID_RECEIPT
        case UnreadableItem():
            return Outcome.UNREADABLE_ITEM
        case TableMismatch():
            return Outcome.TABLE_MISMATCH
        case MailboxError():
            return Outcome.REFUSED
        case asyncio.CancelledError():
            return Outcome.CANCELLED
    return Outcome.FAILED


def store_outcome_of(error: BaseException | None) -> StoreOutcome:
    """Return the outcome of a call to DynamoDB, which has the same name as a gateway's."""
    return StoreOutcome(outcome_of(error))


def _units(answer: Any) -> float:
    """Return the capacity units of an answer, or 0 if it states no valid number."""
    try:
        consumed = answer["ConsumedCapacity"]
        tables = consumed if isinstance(consumed, list) else [consumed]
        units = sum(float(table["CapacityUnits"]) for table in tables)
    except NO_ANSWER:
        return 0.0
    return units if math.isfinite(units) and units >= 0 else 0.0
