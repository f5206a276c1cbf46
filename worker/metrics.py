"""The worker's metrics: the closed list, the counters, and the text of `/metrics`.

Names follow Prometheus' conventions (prometheus.io/docs/practices/naming): prefix `poste_`, base
units, `_total` for counters. Counters and histograms count per flush, call or commit, never per
record. `worker.gauges` reads the gauges at a scrape. No label has a user, a key or an offset, so
the partitions and the values below limit the number of series. `python -m worker.metrics_reference`
writes the table of docs/metrics.md from this list.
"""

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from poste_restante.metric_types import Kind, Label, Metric
from poste_restante.prometheus_metrics import Series
from poste_restante.retryable_errors import COUNTED_REASONS, UNPROCESSED_ITEMS, counted_reason
from worker.errors import DeadLetterReason
from worker.outcomes import (
    AttemptOutcome,
    ClaimOutcome,
    CommitOutcome,
    Service,
    Stage,
)
from worker.readiness import PartitionState
from worker.status import Phase

#: A worker's calls to DynamoDB, by their AWS names.
STORE_OPERATIONS = ("BatchWriteItem", "GetItem", "PutItem", "UpdateItem")

_PARTITION = Label("partition", meaning="partition number")
_STATES = tuple(str(state) for state in PartitionState)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_COUNTS = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0)

BUILD = Metric(
    Kind.INFO, "poste_build", "Versions of the worker and of what it depends on.",
    labels=tuple(
        Label(name, meaning="version") for name in ("version", "python", "faust", "aiokafka")
    ),
)  # fmt: skip

READY = Metric(Kind.GAUGE, "poste_ready", "1 while `/readyz` answers 200, else 0.")
JOINED = Metric(
    Kind.GAUGE, "poste_joined", "1 while the group has given the worker an assignment, else 0."
)
PHASE = Metric(
    Kind.GAUGE, "poste_phase", "1 for the worker's phase, 0 for the others.",
    labels=(Label("phase", tuple(phase.name.lower() for phase in Phase)),),
)  # fmt: skip
PARTITIONS = Metric(
    Kind.GAUGE, "poste_partitions", "Assigned partitions by state; `assigned` counts all of them.",
    labels=(Label("state", ("assigned", *_STATES)),),
)  # fmt: skip
PARTITION_STATE = Metric(
    Kind.GAUGE, "poste_partition_state", "1 for the state of an assigned partition.",
    labels=(_PARTITION, Label("state", _STATES)),
)  # fmt: skip
LAG_RECORDS = Metric(
    Kind.GAUGE, "poste_partition_lag_records",
    "Offsets from the first that is not durable to the end of the log. Includes what an open"
    " transaction holds back, and markers of transactions.",
    labels=(_PARTITION,),
)  # fmt: skip
LAG_SECONDS = Metric(
    Kind.GAUGE, "poste_partition_lag_seconds",
    "Age of the oldest record that is not durable, by its timestamp; 0 without one. Where its"
    " timestamp cannot be read: seconds since the worker first saw that it is not durable.",
    "seconds", (_PARTITION,),
)  # fmt: skip
HELD_BACK_RECORDS = Metric(
    Kind.GAUGE, "poste_partition_held_back_records",
    "Offsets from the stable end to the end of the log, which an open transaction holds back.",
    labels=(_PARTITION,),
)  # fmt: skip
HELD_BACK_SECONDS = Metric(
    Kind.GAUGE, "poste_partition_held_back_seconds",
    "Seconds for which the stable end has stood below the end of the log; 0 where it does not. A"
    " transaction that is at work moves it.",
    "seconds", (_PARTITION,),
)  # fmt: skip
RETENTION_MARGIN_RECORDS = Metric(
    Kind.GAUGE, "poste_partition_retention_margin_records",
    "Offsets from the start of the log to the first that is not durable: when retention has removed"
    " as many, the next removal loses records.",
    labels=(_PARTITION,),
)  # fmt: skip

FRESHNESS_SECONDS = Metric(
    Kind.GAUGE, "poste_partition_freshness_seconds",
    "Seconds since the instant of the partition's last claim: everything appended before it is"
    " durable. Missing until the first one.",
    "seconds", (_PARTITION,),
)  # fmt: skip
RETENTION_SECONDS = Metric(
    Kind.GAUGE, "poste_topic_retention_seconds",
    "The topic's `retention.ms`; +Inf: unlimited. Missing where the worker may not read the topic's"
    " configuration (permission DescribeConfigs).",
    "seconds",
)  # fmt: skip

RECORDS = Metric(Kind.COUNTER, "poste_records", "Records that became durable.")
RECORD_BYTES = Metric(
    Kind.COUNTER, "poste_record_bytes",
    "Bytes of the keys, values and headers of the records that became durable.", "bytes",
)  # fmt: skip
MESSAGES = Metric(Kind.COUNTER, "poste_messages", "Messages that became durable.")
EXPIRED_MESSAGES = Metric(
    Kind.COUNTER, "poste_expired_messages",
    "Messages that had expired before they became durable, which no reader sees.",
)  # fmt: skip
BUNDLES = Metric(Kind.COUNTER, "poste_bundles", "Bundles, one item each, that became durable.")
DEAD_LETTERS = Metric(
    Kind.COUNTER, "poste_dead_letters", "Dead letters that the broker has acknowledged.",
    labels=(Label("reason", tuple(str(reason) for reason in DeadLetterReason)),),
)  # fmt: skip
FLUSH_SECONDS = Metric(
    Kind.HISTOGRAM, "poste_flush_seconds",
    "Seconds from the start of a flush until its batch is durable.", "seconds", buckets=_SECONDS,
)  # fmt: skip
FLUSH_RECORDS = Metric(
    Kind.HISTOGRAM, "poste_flush_records", "Records of a flush.", buckets=_COUNTS
)

_OPERATION = Label("operation", STORE_OPERATIONS)
STORE_CALLS = Metric(
    Kind.COUNTER, "poste_store_calls", "Attempts of calls to DynamoDB, by outcome.",
    labels=(_OPERATION, Label("outcome", tuple(str(outcome) for outcome in AttemptOutcome))),
)  # fmt: skip
STORE_CALL_SECONDS = Metric(
    Kind.HISTOGRAM, "poste_store_call_seconds",
    "Seconds of one attempt of a call to DynamoDB, whatever its outcome.", "seconds",
    (_OPERATION,), _SECONDS,
)  # fmt: skip
UNPROCESSED = Metric(
    Kind.COUNTER, "poste_store_unprocessed_items",
    "Items that DynamoDB left over in a BatchWriteItem, which the worker sends again.",
)  # fmt: skip
THROTTLES = Metric(
    Kind.COUNTER, "poste_store_throttles",
    "Throttled attempts and left-over answers, by DynamoDB's reason, else by its error code.",
    labels=(Label("reason", COUNTED_REASONS),),
)  # fmt: skip
WRITE_UNITS = Metric(
    Kind.COUNTER, "poste_store_write_units",
    "Write units of BatchWriteItem, as DynamoDB states them. Progress and the table record come on"
    " top: a unit per partition and commit interval with something to commit.",
)  # fmt: skip

WAITING_CALLERS = Metric(
    Kind.GAUGE, "poste_waiting_callers", "Callers that wait for a service now.",
    labels=(Label("service", tuple(str(service) for service in Service)),),
)  # fmt: skip
WAITING_SECONDS = Metric(
    Kind.GAUGE, "poste_waiting_seconds",
    "Seconds so far of the longest present wait for a service; 0 without one.", "seconds",
    (Label("service", tuple(str(service) for service in Service)),),
)  # fmt: skip

COMMITS = Metric(
    Kind.COUNTER, "poste_commits", "Commits of the group's offsets, by outcome.",
    labels=(Label("outcome", tuple(str(outcome) for outcome in CommitOutcome)),),
)  # fmt: skip
COMMIT_PENDING_SECONDS = Metric(
    Kind.GAUGE, "poste_commit_pending_seconds",
    "Seconds for which durable records have waited for a commit; 0 where none wait.", "seconds",
)  # fmt: skip
CLAIM_WRITES = Metric(
    Kind.COUNTER, "poste_claim_writes", "Attempts to store the claims of freshness, by outcome.",
    labels=(Label("outcome", tuple(str(outcome) for outcome in ClaimOutcome)),),
)  # fmt: skip
REBALANCE_SECONDS = Metric(
    Kind.HISTOGRAM, "poste_rebalance_seconds",
    "Seconds of a rebalance, from giving up the partitions to the next assignment. The first counts"
    " from the start of joining.",
    "seconds", buckets=_SECONDS,
)  # fmt: skip
RETENTION_GAPS = Metric(
    Kind.COUNTER, "poste_retention_gaps",
    "Openings of a partition that found records removed by retention before they were read.",
)  # fmt: skip
RETENTION_GAP_RECORDS = Metric(
    Kind.COUNTER, "poste_retention_gap_records",
    "Offsets that retention removed before they were read.",
)  # fmt: skip

_STAGE = Label("stage", tuple(str(stage) for stage in Stage))
MEMORY_BYTES = Metric(
    Kind.GAUGE, "poste_memory_bytes",
    "Bytes of memory that records take by stage, as the worker accounts for them.", "bytes",
    (_STAGE,),
)  # fmt: skip
MEMORY_LIMIT_BYTES = Metric(
    Kind.GAUGE, "poste_memory_limit_bytes", "Limit of each stage, derived from memory_mb.",
    "bytes", (_STAGE,),
)  # fmt: skip

#: Every metric of this project, in the order of the documents. The process metrics of
#: prometheus-client (`process_...`, `python_gc_...`, `python_info`) are served besides.
METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


class Sample(NamedTuple):
    """One value of a gauge. labels: values in the order of the metric's labels."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()


class WorkerMetrics:
    """The metrics of one worker. gauges: called at every scrape; must not block."""

    def __init__(self, gauges: Callable[[], Iterable[Sample]] = tuple) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._gauges = _Gauges(gauges)
        self._registry.register(self._gauges)
        Info(BUILD.name, BUILD.help, registry=self._registry).info(
            {
                "version": version("poste-restante-worker"),
                "python": platform.python_version(),
                "faust": version("faust-streaming"),
                "aiokafka": version("aiokafka"),
            }
        )
        self._series = Series(METRICS, self._registry)

    def read_gauges(self, gauges: Callable[[], Iterable[Sample]]) -> None:
        """Read the gauges with this function from now on."""
        self._gauges.read = gauges

    def count_flush(
        self, *, records: int, size: int, messages: int, expired: int, bundles: int, seconds: float
    ) -> None:
        """Count one durable batch. size: bytes of its records."""
        self._add(RECORDS, records)
        self._add(RECORD_BYTES, size)
        self._add(MESSAGES, messages)
        self._add(EXPIRED_MESSAGES, expired)
        self._add(BUNDLES, bundles)
        self._series.observe(FLUSH_SECONDS, seconds)
        self._series.observe(FLUSH_RECORDS, records)

    def count_dead_letters(self, reasons: Mapping[DeadLetterReason, int]) -> None:
        """Count the acknowledged dead letters of one flush."""
        for reason, count in reasons.items():
            self._add(DEAD_LETTERS, count, str(reason))

    def count_store_call(self, operation: str, outcome: AttemptOutcome, seconds: float) -> None:
        """Count one attempt of a call. operation: others than STORE_OPERATIONS are ignored."""
        if operation in STORE_OPERATIONS:
            self._add(STORE_CALLS, 1, operation, str(outcome))
            self._series.observe(STORE_CALL_SECONDS, seconds, (operation,))

    def count_batch_write(self, *, left_over: int, write_units: float) -> None:
        """Count one BatchWriteItem that DynamoDB accepted, at least in part."""
        self._add(WRITE_UNITS, write_units)
        if left_over:
            self._add(UNPROCESSED, left_over)
            self._add(THROTTLES, 1, UNPROCESSED_ITEMS)

    def count_throttled(self, reasons: Sequence[str]) -> None:
        """Count one throttled attempt, once for each of its reasons."""
        for reason in reasons:
            self._add(THROTTLES, 1, counted_reason(reason))

    def count_commit(self, outcome: CommitOutcome) -> None:
        self._add(COMMITS, 1, str(outcome))

    def count_claim_write(self, stored: bool) -> None:  # noqa: FBT001 - an observer's one argument
        self._add(CLAIM_WRITES, 1, str(ClaimOutcome.STORED if stored else ClaimOutcome.FAILED))

    def observe_rebalance(self, seconds: float) -> None:
        self._series.observe(REBALANCE_SECONDS, seconds)

    def count_retention_gap(self, records: int) -> None:
        """Count one gap. records: offsets that were removed unread."""
        self._add(RETENTION_GAPS, 1)
        self._add(RETENTION_GAP_RECORDS, records)

    def scrape(self, accept: str | None) -> tuple[bytes, str]:
        """Return the exposition and its content type for an Accept header: OpenMetrics if
        requested, else Prometheus' text format."""
        encode, content_type = choose_encoder(accept or "")
        return encode(self._registry), content_type

    def _add(self, metric: Metric, amount: float, *labels: str) -> None:
        self._series.add(metric, amount, labels)


class _Gauges(Collector):
    """Makes the gauges' families from the samples of a scrape."""

    def __init__(self, read: Callable[[], Iterable[Sample]]) -> None:
        self.read = read

    def describe(self) -> list[Family]:
        """Return the names without reading, because nothing is wired at registration."""
        return [GaugeMetricFamily(m.name, m.help) for m in METRICS if m.kind is Kind.GAUGE]

    def collect(self) -> Iterable[Family]:
        families = {
            m: GaugeMetricFamily(m.name, m.help, labels=[label.name for label in m.labels])
            for m in METRICS
            if m.kind is Kind.GAUGE
        }
        for metric, value, labels in self.read():
            families[metric].add_metric(labels, value)
        return families.values()
