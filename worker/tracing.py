"""Spans for OpenTelemetry, off by default: one per flush, linked to the traces of its records.

Names and attributes follow OpenTelemetry's semantic conventions for messaging. Needs the extra
`opentelemetry` and an SDK from the environment, such as `opentelemetry-instrument`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from worker.errors import ConfigurationError
from worker.record import Record

#: The header of W3C Trace Context, with a producer's trace.
TRACEPARENT = "traceparent"
#: Links of a span, and records of a flush that are searched for them. No back end shows more.
LINKS_MAX, RECORDS_SEARCHED_MAX = 32, 1_000

#: Makes the context of one flush of these records.
FlushSpan = Callable[[Sequence[Record]], AbstractContextManager[Any]]


def no_span(_: Sequence[Record]) -> AbstractContextManager[None]:
    """Trace nothing."""
    return nullcontext()


def flush_spans(*, tracing: bool) -> FlushSpan:
    """Return the function that traces flushes. Raises ConfigurationError if the extra is
    missing."""
    if not tracing:
        return no_span
    try:
        from opentelemetry import trace
    except ImportError:
        raise ConfigurationError(
            "tracing needs OpenTelemetry: pip install 'poste-restante-worker[opentelemetry]'"
        ) from None
    tracer = trace.get_tracer("poste-restante")

    def span(records: Sequence[Record]) -> AbstractContextManager[Any]:
        first, last = records[0], records[-1]
        made: AbstractContextManager[Any] = tracer.start_as_current_span(
            f"process {first.topic}",
            kind=trace.SpanKind.CONSUMER,
            links=list(_links(records)),
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": first.topic,
                "messaging.destination.partition.id": str(first.partition),
                "messaging.batch.message_count": len(records),
                "messaging.kafka.offset": first.offset,
                "poste.last_offset": last.offset,
            },
        )
        return made

    return span


def _links(records: Sequence[Record]) -> Iterator[Any]:
    """Yield a link to each sampled trace of the records, within the limits."""
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator, found = TraceContextTextMapPropagator(), set[tuple[int, int]]()
    for record in records[:RECORDS_SEARCHED_MAX]:
        parent = dict(record.headers).get(TRACEPARENT)
        if parent is None:
            continue
        carrier = {TRACEPARENT: parent.decode("ascii", errors="replace")}
        context = trace.get_current_span(propagator.extract(carrier)).get_span_context()
        key = context.trace_id, context.span_id
        if context.is_valid and context.trace_flags.sampled and key not in found:
            found.add(key)
            yield trace.Link(context)
            if len(found) == LINKS_MAX:
                return
