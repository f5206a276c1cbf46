"""The list of metrics, what counts into them, and the exposition."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError, ReadTimeoutError
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from poste_restante.credentials import CredentialsError
from poste_restante.metric_types import Kind, Metric
from poste_restante.retryable_errors import THROTTLING_REASONS
from tests.pages import page
from worker.dynamodb.call_metrics import CallMetrics
from worker.dynamodb.errors import MalformedAnswerError
from worker.dynamodb.puts import PutResult
from worker.errors import DeadLetterReason
from worker.metrics import METRICS, READY, Sample, WorkerMetrics
from worker.metrics_reference import markdown_table
from worker.outcomes import CommitOutcome

#: Base units of Prometheus (docs/practices/naming) that a name must end with.
BASE_UNITS = {"seconds", "bytes"}


def values(metrics: WorkerMetrics) -> dict[str, float]:
    """Every sample as Prometheus would scrape it, by `name{label="value"}`."""
    body, _ = metrics.scrape(None)
    found = {}
    for family in parse_text(body.decode()):
        for sample in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def changes(metrics: WorkerMetrics, before: dict[str, float]) -> dict[str, float]:
    """What has changed since, without the process's own metrics and the histograms' buckets."""
    return {
        name: value - before.get(name, 0)
        for name, value in values(metrics).items()
        if name.startswith("poste_") and value != before.get(name)
        if not re.search(r"_bucket|_created", name)
    }


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_named_by_the_conventions_and_described(metric: Metric) -> None:
    assert re.fullmatch(r"poste_[a-z][a-z_]*[a-z]", metric.name)
    assert not metric.name.endswith(("_total", "_info", "_count", "_sum", "_bucket"))
    assert (metric.unit in BASE_UNITS) == bool(metric.unit)
    assert metric.name.endswith(f"_{metric.unit}") or not metric.unit
    assert metric.unit or not metric.name.endswith(tuple(f"_{unit}" for unit in BASE_UNITS))
    assert metric.help.endswith(".")
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.buckets) == sorted(metric.buckets)


def test_names_are_unique_and_the_list_is_whole() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    exposed = {name.partition("{")[0] for name in values(WorkerMetrics())}
    counters = {metric.exposed for metric in METRICS if metric.kind in (Kind.COUNTER, Kind.INFO)}
    assert counters <= exposed  # every series begins at 0
    known = {metric.exposed for metric in METRICS}
    known |= {
        f"{m.name}_{part}" for m in METRICS if m.buckets for part in ("bucket", "sum", "count")
    }
    own = {name for name in exposed if name.startswith("poste_") and not name.endswith("_created")}
    assert own <= known


def test_the_page_has_the_table_of_metrics() -> None:
    assert markdown_table() in page("metrics")


def test_a_flush_counts_once_for_all_its_records() -> None:
    metrics = WorkerMetrics()
    before = values(metrics)
    metrics.count_flush(records=500, size=9_000, messages=498, expired=3, bundles=40, seconds=0.02)
    assert changes(metrics, before) == {
        "poste_records_total": 500, "poste_record_bytes_total": 9_000, "poste_messages_total": 498,
        "poste_expired_messages_total": 3, "poste_bundles_total": 40,
        "poste_flush_seconds_count": 1, "poste_flush_seconds_sum": pytest.approx(0.02),
        "poste_flush_records_count": 1,
        "poste_flush_records_sum": 500,
    }  # fmt: skip


def test_commits_rebalances_gaps_and_dead_letters_are_counted() -> None:
    metrics = WorkerMetrics()
    before = values(metrics)
    metrics.count_commit(CommitOutcome.COMMITTED)
    metrics.count_commit(CommitOutcome.NOT_COMMITTED)
    metrics.observe_rebalance(3.5)
    metrics.count_retention_gap(120)
    metrics.count_dead_letters({DeadLetterReason.NO_BODY: 2, DeadLetterReason.TOO_LARGE: 1})
    assert changes(metrics, before) == {
        'poste_commits_total{outcome="committed"}': 1,
        'poste_commits_total{outcome="not_committed"}': 1,
        "poste_rebalance_seconds_count": 1, "poste_rebalance_seconds_sum": 3.5,
        "poste_retention_gaps_total": 1, "poste_retention_gap_records_total": 120,
        'poste_dead_letters_total{reason="no_body"}': 2,
        'poste_dead_letters_total{reason="too_large"}': 1,
    }  # fmt: skip


def refused(code: str, status: int = 400, **members: Any) -> ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": "text"},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **members,
    }
    return ClientError(answer, "BatchWriteItem")


def reasons(*names: str, member: str = "ThrottlingReasons") -> dict[str, Any]:
    return {member: [{"reason": name, "resource": "arn:aws:dynamodb:::table/t"} for name in names]}


ATTEMPTS: dict[str, tuple[Any, str, dict[str, float]]] = {
    "an answer": ({"Item": {}}, "ok", {}),
    "a result": (PutResult(frozenset(), 2.5), "ok", {"poste_store_write_units_total": 2.5}),
    "left over": (
        PutResult(frozenset({("bob", "k"), ("ann", "k")}), 1.0),
        "partial",
        {
            "poste_store_write_units_total": 1.0,
            "poste_store_unprocessed_items_total": 2,
            'poste_store_throttles_total{reason="UnprocessedItems"}': 1,
        },
    ),
    "throttled": (
        refused("ProvisionedThroughputExceededException"),
        "throttled",
        {'poste_store_throttles_total{reason="ProvisionedThroughputExceededException"}': 1},
    ),
    "throttled for two reasons": (
        refused(
            "ThrottlingException",
            **reasons(
                "TableWriteKeyRangeThroughputExceeded", "TableWriteAccountLimitExceeded",
                member="throttlingReasons",
            ),
        ),
        "throttled",
        {
            'poste_store_throttles_total{reason="TableWriteKeyRangeThroughputExceeded"}': 1,
            'poste_store_throttles_total{reason="TableWriteAccountLimitExceeded"}': 1,
        },
    ),
    "throttled for an unknown reason": (
        refused("RequestLimitExceeded", **reasons("MoonInTheWrongHouse")),
        "throttled",
        {'poste_store_throttles_total{reason="other"}': 1},
    ),
    "reasons of another shape": (
        refused("RequestLimitExceeded", ThrottlingReasons=["odd", {"reason": None}]),
        "throttled",
        {'poste_store_throttles_total{reason="RequestLimitExceeded"}': 1},
    ),
    "a fault": (refused("InternalServerError", 500), "unavailable", {}),
    "no answer": (ReadTimeoutError(endpoint_url="http://x"), "unavailable", {}),
    "half an answer": (MalformedAnswerError(("Item",)), "unavailable", {}),
    "no permission": (refused("AccessDeniedException"), "refused", {}),
    "an expired signature": (refused("ExpiredTokenException"), "refused", {}),
    "no credentials": (CredentialsError(NoCredentialsError()), "refused", {}),
    "no table": (refused("ResourceNotFoundException"), "refused", {}),
    "a condition": (refused("ConditionalCheckFailedException"), "condition_failed", {}),
    "an item": (refused("ValidationException"), "rejected", {}),
}  # fmt: skip


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_an_attempt_is_counted_by_its_outcome(attempt: str) -> None:
    outcome, expected, more = ATTEMPTS[attempt]
    metrics = WorkerMetrics()
    before = values(metrics)
    CallMetrics(metrics).attempted("BatchWriteItem", 0.5, outcome)
    operation = 'operation="BatchWriteItem"'
    assert changes(metrics, before) == {
        f'poste_store_calls_total{{{operation},outcome="{expected}"}}': 1,
        f"poste_store_call_seconds_count{{{operation}}}": 1,
        f"poste_store_call_seconds_sum{{{operation}}}": 0.5,
        **more,
    }


def test_the_calls_of_commands_are_not_counted() -> None:
    metrics = WorkerMetrics()
    before = values(metrics)
    CallMetrics(metrics).attempted("DescribeTable", 0.5, {"Table": {}})
    assert changes(metrics, before) == {}


def test_dynamodbs_reasons_are_those_of_its_documents() -> None:
    assert len(THROTTLING_REASONS) == 8
    assert {"TableWriteKeyRangeThroughputExceeded", "TableReadAccountLimitExceeded"} <= (
        THROTTLING_REASONS
    )


def test_gauges_are_read_at_every_scrape() -> None:
    now = [1.0]

    def read() -> Iterator[Sample]:
        yield Sample(READY, now[0])

    metrics = WorkerMetrics()
    assert "poste_ready" not in values(metrics)  # nothing is wired yet
    metrics.read_gauges(read)
    assert values(metrics)["poste_ready"] == 1
    now[0] = 0
    assert values(metrics)["poste_ready"] == 0


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/plain"),
        ("text/html", "text/plain"),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics"),
    ],
)
def test_the_exposition_is_what_the_request_accepts(accept: str | None, content_type: str) -> None:
    metrics = WorkerMetrics(lambda: [Sample(READY, 1.0)])
    body, found = metrics.scrape(accept)
    assert found.startswith(content_type)
    parse = parse_openmetrics if "openmetrics" in content_type else parse_text
    families = {family.name: family for family in parse(body.decode())}
    assert families["poste_ready"].documentation == READY.help
    assert "process_cpu_seconds" in families
    (build,) = families["poste_build" if parse is parse_openmetrics else "poste_build_info"].samples
    assert set(build.labels) == {"version", "python", "faust", "aiokafka"}
