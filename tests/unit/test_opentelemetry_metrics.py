"""The adapter for OpenTelemetry, against its SDK with readers in memory."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    Gauge,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    NumberDataPoint,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from poste_restante import InvalidReceipt, Mailboxes, StoreUnavailable
from poste_restante.metric_list import METRICS
from poste_restante.metric_types import Kind
from poste_restante.opentelemetry_metrics import OpenTelemetryMetrics
from poste_restante.testing import InMemoryMailboxes
from tests.fake_table import InMemoryTable
from tests.mailbox_table import MailboxTable

#: A series: the metric's name and its attributes' values.
Series = tuple[str, ...]


class Sdk:
    """What a gateway sets up, with everything in memory."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.spans, self.tracers = InMemorySpanExporter(), TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))

    def metrics(self, *, tracing: bool = False) -> OpenTelemetryMetrics:
        return OpenTelemetryMetrics(
            tracing=tracing, meter_provider=self.meters, tracer_provider=self.tracers
        )

    def instruments(self) -> dict[str, Metric]:
        data = self.reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self) -> dict[Series, float]:
        """Counters, gauges, and of histograms the number of values."""
        found: dict[Series, float] = {}
        for name, metric in self.instruments().items():
            for point in metric.data.data_points:
                series = (name, *map(str, (point.attributes or {}).values()))
                if isinstance(point, HistogramDataPoint):
                    found[series] = point.count
                elif isinstance(point, NumberDataPoint):
                    found[series] = point.value
        return found

    def finished(self) -> tuple[ReadableSpan, ...]:
        return self.spans.get_finished_spans()


@pytest.fixture
def sdk() -> Sdk:
    return Sdk()


async def test_fetches_and_acks_are_counted(sdk: Sdk) -> None:
    """Under the names of the list, with its labels as attributes."""
    mailboxes = InMemoryMailboxes(metrics=sdk.metrics())
    for _ in range(3):
        mailboxes.deliver("bob", b"hello")
    async for page in mailboxes.pages("bob", limit=2):
        await mailboxes.ack("bob", page.receipt)
    with pytest.raises(InvalidReceipt):
        await mailboxes.ack("bob", "x")

    assert sdk.points() == {
        ("poste_reader_calls", "fetch", "ok"): 2,
        ("poste_reader_calls", "ack", "ok"): 2,
        ("poste_reader_calls", "ack", "invalid_receipt"): 1,
        ("poste_reader_call_seconds", "fetch"): 2,
        ("poste_reader_call_seconds", "ack"): 3,
        ("poste_reader_page_messages",): 2,
        ("poste_reader_page_bytes",): 2,
        ("poste_reader_prefetches", "hit"): 1,
        ("poste_reader_store_calls_in_flight",): 0,
        ("poste_reader_store_calls_waiting",): 0,
        ("poste_reader_store_calls_limit",): 0,
    }


async def test_every_instrument_has_the_lists_unit_help_and_buckets(sdk: Sdk) -> None:
    """All of them, once each has a value."""
    metrics = sdk.metrics()
    for metric in METRICS:
        labels = tuple(label.values[0] for label in metric.labels)
        if metric.kind is Kind.COUNTER:
            metrics.add(metric, 1, labels)
        elif metric.kind is Kind.HISTOGRAM:
            metrics.observe(metric, 1, labels)
    found = sdk.instruments()

    units = {"seconds": "s", "bytes": "By", "": ""}
    assert {name: (m.description, m.unit) for name, m in found.items()} == {
        m.name: (m.help, units[m.unit]) for m in METRICS
    }
    for metric in METRICS:
        (point,) = found[metric.name].data.data_points
        assert list(point.attributes or {}) == [label.name for label in metric.labels]
        if isinstance(point, HistogramDataPoint):
            assert tuple(point.explicit_bounds) == metric.buckets
        assert isinstance(found[metric.name].data, Gauge) == (metric.kind is Kind.GAUGE)


def test_the_gauges_are_read_when_they_are_collected(sdk: Sdk) -> None:
    metrics = sdk.metrics()
    first = Mailboxes(InMemoryTable(), calls_in_flight_max=5, metrics=metrics)
    second = Mailboxes(InMemoryTable(), calls_in_flight_max=3, metrics=metrics)
    assert sdk.points()["poste_reader_store_calls_limit",] == 8
    assert first is not second  # held until here


# ---- spans


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


async def test_a_fetch_and_an_ack_are_spans(sdk: Sdk) -> None:
    mailboxes = InMemoryMailboxes(metrics=sdk.metrics(tracing=True))
    mailboxes.deliver("bob", b"hello")
    with sdk.tracers.get_tracer("gateway").start_as_current_span("reconnect"):
        page = await mailboxes.fetch("bob")
        await mailboxes.ack("bob", page.receipt)

    fetch, ack, reconnect = sdk.finished()
    assert [span.name for span in (fetch, ack)] == ["fetch mailbox", "ack mailbox"]
    assert attributes(fetch) == {
        "messaging.system": "poste-restante", "messaging.operation.name": "fetch",
        "messaging.operation.type": "receive", "messaging.batch.message_count": 1,
    }  # fmt: skip
    assert attributes(ack) == {
        "messaging.system": "poste-restante", "messaging.operation.name": "ack",
        "messaging.operation.type": "settle",
    }  # fmt: skip
    for span in (fetch, ack):
        assert span.kind is trace.SpanKind.CLIENT
        assert span.status.is_unset
        assert span.parent == reconnect.context
        assert "bob" not in span.to_json()


async def test_a_span_is_current_while_its_call_lasts(sdk: Sdk) -> None:
    """So an instrumented HTTP client's spans are its children; fetches at once do not mix."""
    mailbox_table = MailboxTable(InMemoryTable(), "mailboxes")
    await mailbox_table.open()
    mailbox_table.mailboxes = mailbox_table.reader(metrics=sdk.metrics(tracing=True))
    await mailbox_table.mailboxes.fetch("bob")
    sdk.spans.clear()
    current = []

    async def look(make: Any, arguments: Any) -> Any:
        current.append(trace.get_current_span())
        return await make(**arguments)

    mailbox_table.client.faults = [look, look, look]
    await asyncio.gather(*(mailbox_table.mailboxes.fetch(f"user-{n}") for n in range(3)))

    assert {span.get_span_context().span_id for span in current} == {
        span.context.span_id for span in sdk.finished() if span.context
    }
    assert len({span.get_span_context().trace_id for span in current}) == 3
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_a_call_that_fails_is_a_span_with_an_error(sdk: Sdk) -> None:
    """Named by its outcome: what an exception says stays out of the trace."""
    mailboxes = InMemoryMailboxes(metrics=sdk.metrics(tracing=True))
    mailboxes.fail_next(StoreUnavailable("bob is too much", throttled=True))
    with pytest.raises(StoreUnavailable):
        await mailboxes.fetch("bob")
    (span,) = sdk.finished()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert attributes(span)["error.type"] == "throttled"
    assert "bob" not in span.to_json()
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_a_call_that_is_cancelled_is_a_span_without_an_error(sdk: Sdk) -> None:
    mailbox_table = MailboxTable(InMemoryTable(), "mailboxes")
    await mailbox_table.open()
    mailboxes = mailbox_table.reader(metrics=sdk.metrics(tracing=True))
    reached = asyncio.Event()

    async def stands_still(_make: Any, _arguments: Any) -> Any:
        reached.set()
        await asyncio.Event().wait()

    mailbox_table.client.faults = [stands_still]
    task = asyncio.create_task(mailboxes.fetch("bob"))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (span,) = sdk.finished()
    assert span.status.is_unset
    assert attributes(span)["error.type"] == "cancelled"


async def test_without_tracing_there_is_no_span(sdk: Sdk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tracer is even asked for."""
    monkeypatch.setattr(trace, "get_tracer", None)
    mailboxes = InMemoryMailboxes(metrics=sdk.metrics())
    await mailboxes.fetch("bob")
    assert sdk.finished() == ()


async def test_providers_that_are_set_later_are_used(
    sdk: Sdk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default the global ones; without an SDK the API counts nothing, and nothing fails."""
    mailboxes = InMemoryMailboxes(metrics=OpenTelemetryMetrics(tracing=True))
    await mailboxes.fetch("bob")
    monkeypatch.setattr(trace, "get_tracer", lambda *_, **__: sdk.tracers.get_tracer("x"))
    mailboxes = InMemoryMailboxes(metrics=OpenTelemetryMetrics(tracing=True))
    await mailboxes.fetch("bob")
    assert [span.name for span in sdk.finished()] == ["fetch mailbox"]
