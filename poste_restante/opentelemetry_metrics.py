"""Mailboxes' metrics and spans for OpenTelemetry: `pip install 'poste-restante[opentelemetry]'`.

    metrics = OpenTelemetryMetrics(tracing=True)  # once per process
    async with open_mailboxes(metrics=metrics) as mailboxes: ...

The names are those of docs/metrics.md, without the `_total` that an exporter for Prometheus adds.
It needs only the API. The gateway chooses the exporter, such as `opentelemetry-instrument`.
"""

from collections.abc import Callable, Iterable
from contextvars import Token
from typing import NamedTuple

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.metrics import (
    CallbackOptions,
    MeterProvider,
    Observation,
    get_meter_provider,
)
from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider

from poste_restante.metric_list import METRICS, ListedMetrics
from poste_restante.metric_types import Kind, Metric
from poste_restante.metrics import CallEnded, Operation, Outcome

#: The instrumentation scope of this library.
SCOPE = "poste-restante"
#: OpenTelemetry's names of the units.
_UNITS = {"seconds": "s", "bytes": "By", "": ""}
#: Names of spans, and `messaging.operation.type` of OpenTelemetry's semantic conventions.
_SPANS = {
    Operation.FETCH: ("fetch mailbox", "receive"),
    Operation.ACK: ("ack mailbox", "settle"),
}
#: Outcomes whose spans are no errors.
_NO_ERRORS = frozenset({Outcome.OK, Outcome.CANCELLED})


class _OpenSpan(NamedTuple):
    """A span, and the token that makes the previous one current again."""

    span: Span
    token: Token[Context]


class OpenTelemetryMetrics(ListedMetrics):
    """`Metrics` as instruments of a meter. One object serves all mailboxes of a process.

    tracing: whether a fetch and an acknowledgement are spans, current while they last, so that an
        instrumented HTTP client's spans are their children.
    meter_provider, tracer_provider: by default the global ones, which may be set later.
    """

    def __init__(
        self,
        *,
        tracing: bool = False,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        super().__init__()
        meter = (meter_provider or get_meter_provider()).get_meter(SCOPE)
        self._counters = {
            m: meter.create_counter(m.name, _UNITS[m.unit], m.help)
            for m in METRICS
            if m.kind is Kind.COUNTER
        }
        self._histograms = {
            m: meter.create_histogram(
                m.name,
                _UNITS[m.unit],
                m.help,
                explicit_bucket_boundaries_advisory=m.buckets,
            )
            for m in METRICS
            if m.kind is Kind.HISTOGRAM
        }
        for m in METRICS:
            if m.kind is Kind.GAUGE:
                meter.create_observable_gauge(m.name, [self._observer(m)], _UNITS[m.unit], m.help)
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider) if tracing else None

    def add(self, metric: Metric, amount: float, labels: tuple[str, ...] = ()) -> None:
        self._counters[metric].add(amount, _attributes(metric, labels))

    def observe(self, metric: Metric, value: float, labels: tuple[str, ...] = ()) -> None:
        self._histograms[metric].record(value, _attributes(metric, labels))

    def _observer(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _: [Observation(self.load()[metric])]

    def call_started(self, operation: Operation) -> object:
        if self._tracer is None:
            return None
        name, kind = _SPANS[operation]
        span = self._tracer.start_span(
            name,
            kind=SpanKind.CLIENT,
            attributes={
                "messaging.system": SCOPE,
                "messaging.operation.name": operation.value,
                "messaging.operation.type": kind,
            },
        )
        return _OpenSpan(span, context.attach(trace.set_span_in_context(span)))

    def call_ended(self, started: object, call: CallEnded) -> None:
        if isinstance(started, _OpenSpan):
            span, token = started
            context.detach(token)
            if call.page is not None:
                span.set_attribute("messaging.batch.message_count", call.page.messages)
            if call.outcome is not Outcome.OK:
                span.set_attribute("error.type", call.outcome.value)
            if call.outcome not in _NO_ERRORS:
                span.set_status(StatusCode.ERROR)
            span.end()
        super().call_ended(started, call)


def _attributes(metric: Metric, values: tuple[str, ...]) -> dict[str, str]:
    return {label.name: value for label, value in zip(metric.labels, values, strict=True)}
