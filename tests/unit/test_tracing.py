"""A span per flush, linked to the traces of its records."""

import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.records import TOPIC, MadeRecord
from worker.tracing import LINKS_MAX, RECORDS_SEARCHED_MAX, flush_spans, no_span

SAMPLED, NOT_SAMPLED = "01", "00"


def parent(number: int, flags: str = SAMPLED) -> bytes:
    return f"00-{number:032x}-{number:016x}-{flags}".encode()


def record(offset: int, *parents: bytes) -> MadeRecord:
    return MadeRecord(offset=offset, headers=[("traceparent", value) for value in parents])


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The spans that an SDK exports."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


def one(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = spans.get_finished_spans()
    return span


def links(spans: InMemorySpanExporter) -> list[int]:
    return [link.context.trace_id for link in one(spans).links]


def test_a_flush_is_a_span_of_its_records(spans: InMemorySpanExporter) -> None:
    with flush_spans(tracing=True)([record(7, parent(1)), record(9)]):
        pass
    span = one(spans)
    assert (span.name, span.kind) == (f"process {TOPIC}", trace.SpanKind.CONSUMER)
    assert dict(span.attributes or {}) == {
        "messaging.system": "kafka", "messaging.operation.type": "process",
        "messaging.destination.name": TOPIC, "messaging.destination.partition.id": "3",
        "messaging.batch.message_count": 2, "messaging.kafka.offset": 7, "poste.last_offset": 9,
    }  # fmt: skip
    assert links(spans) == [1]


def test_a_flush_that_fails_is_a_span_with_its_error(spans: InMemorySpanExporter) -> None:
    with pytest.raises(RuntimeError), flush_spans(tracing=True)([record(7)]):
        raise RuntimeError("the store refuses")
    assert one(spans).status.status_code is trace.StatusCode.ERROR


@pytest.mark.parametrize("value", [b"", b"00-zz", b"\xff", parent(0), parent(5, NOT_SAMPLED)])
def test_a_parent_that_is_damaged_or_not_sampled_is_no_link(
    spans: InMemorySpanExporter, value: bytes
) -> None:
    with flush_spans(tracing=True)([record(0, value), record(1, parent(2))]):
        pass
    assert links(spans) == [2]


def test_links_are_bounded_and_each_trace_is_linked_once(spans: InMemorySpanExporter) -> None:
    records = [record(n, parent(1 + n // 2)) for n in range(4 * LINKS_MAX)]
    with flush_spans(tracing=True)(records):
        pass
    assert links(spans) == list(range(1, LINKS_MAX + 1))


def test_only_the_first_records_are_searched(spans: InMemorySpanExporter) -> None:
    plain = [record(n) for n in range(RECORDS_SEARCHED_MAX)]
    with flush_spans(tracing=True)([*plain, record(RECORDS_SEARCHED_MAX, parent(1))]):
        pass
    assert links(spans) == []


def test_tracing_that_is_off_does_not_import_opentelemetry() -> None:
    assert flush_spans(tracing=False) is no_span
    look = (
        "import sys; from worker.tracing import flush_spans; flush_spans(tracing=False)(());"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_tracing_without_the_extra_says_what_to_install() -> None:
    look = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from worker.errors import ConfigurationError\n"
        "from worker.tracing import flush_spans\n"
        "try: flush_spans(tracing=True)\n"
        "except ConfigurationError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert "pip install 'poste-restante-worker[opentelemetry]'" in done.stdout
