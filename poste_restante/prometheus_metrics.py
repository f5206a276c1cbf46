"""Mailboxes' metrics for prometheus-client: `pip install 'poste-restante[prometheus]'`.

    metrics = PrometheusMetrics()  # once per process
    async with open_mailboxes(metrics=metrics) as mailboxes: ...

They are served by what serves the registry: `prometheus_client.start_http_server`, `make_asgi_app`
or a gateway's own endpoint. docs/metrics.md lists them.
"""

from collections.abc import Iterable

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from poste_restante.metric_list import METRICS, ListedMetrics
from poste_restante.metric_types import Kind, Metric, label_combinations


class PrometheusMetrics(ListedMetrics):
    """`Metrics` in a registry: prometheus-client's own by default.

    One object serves all mailboxes of a process. Every series begins at 0. Raises ValueError where
    the registry has these metrics already. In prometheus-client's multiprocess mode the gauges are
    missing, since that mode has no collectors of one's own.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__()
        registry = prometheus_client.REGISTRY if registry is None else registry
        # The gauges first: a registry that has them stays as it was.
        try:
            registry.register(_Gauges(self))
        except ValueError as error:
            raise ValueError(
                "this registry has the reader's metrics already: make one PrometheusMetrics per"
                " process, and hand it to every open_mailboxes"
            ) from error
        self._counters = {
            (metric, labels): counter
            for metric in METRICS
            if metric.kind is Kind.COUNTER
            for labels, counter in _series(metric, registry).items()
        }
        self._histograms = {
            (metric, labels): histogram
            for metric in METRICS
            if metric.kind is Kind.HISTOGRAM
            for labels, histogram in _histograms(metric, registry).items()
        }

    def add(self, metric: Metric, amount: float, labels: tuple[str, ...] = ()) -> None:
        self._counters[metric, labels].inc(amount)

    def observe(self, metric: Metric, value: float, labels: tuple[str, ...] = ()) -> None:
        self._histograms[metric, labels].observe(value)


def _series(metric: Metric, registry: CollectorRegistry) -> dict[tuple[str, ...], Counter]:
    """Make a counter. Return what counts, by label values: to look it up costs more than to add."""
    names = [label.name for label in metric.labels]
    counter = Counter(metric.name, metric.help, names, registry=registry)
    return {
        values: counter.labels(*values) if values else counter
        for values in label_combinations(metric.labels)
    }


def _histograms(metric: Metric, registry: CollectorRegistry) -> dict[tuple[str, ...], Histogram]:
    """Make a histogram. Return what observes, by label values."""
    names = [label.name for label in metric.labels]
    histogram = Histogram(
        metric.name, metric.help, names, registry=registry, buckets=metric.buckets
    )
    return {
        values: histogram.labels(*values) if values else histogram
        for values in label_combinations(metric.labels)
    }


class _Gauges(Collector):
    """Reads the gauges when a scrape asks."""

    def __init__(self, metrics: ListedMetrics) -> None:
        self._metrics = metrics

    def describe(self) -> list[Family]:
        """Return the names without reading."""
        return [GaugeMetricFamily(m.name, m.help) for m in METRICS if m.kind is Kind.GAUGE]

    def collect(self) -> Iterable[Family]:
        for metric, value in self._metrics.load().items():
            yield GaugeMetricFamily(metric.name, metric.help, value=value)
