"""Mailboxes' metrics for prometheus-client: `pip install 'poste-restante[prometheus]'`.

    metrics = PrometheusMetrics()  # once per process
    async with open_mailboxes(metrics=metrics) as mailboxes: ...

`prometheus_client.start_http_server`, `make_asgi_app` or a gateway's own endpoint serves them.
docs/metrics.md lists them.
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
    """`Metrics` in a registry, by default prometheus-client's.

    One object serves all mailboxes of a process. Every series begins at 0. Raises ValueError if the
    registry has these metrics already. prometheus-client's multiprocess mode has no custom
    collectors, so it lacks the gauges.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__()
        registry = prometheus_client.REGISTRY if registry is None else registry
        # The gauges first: a registry that has them is left unchanged.
        try:
            registry.register(_Gauges(self))
        except ValueError as error:
            raise ValueError(
                "this registry has the reader's metrics already: make one PrometheusMetrics per"
                " process, and hand it to every open_mailboxes"
            ) from error
        self._series = Series(METRICS, registry)

    def add(self, metric: Metric, amount: float, labels: tuple[str, ...] = ()) -> None:
        self._series.add(metric, amount, labels)

    def observe(self, metric: Metric, value: float, labels: tuple[str, ...] = ()) -> None:
        self._series.observe(metric, value, labels)


class Series:
    """The counters and histograms of a list of metrics, created in a registry.

    Every series begins at 0, so that its first step is visible. They are kept by label values,
    because a look-up in the library costs more than an addition.
    """

    def __init__(self, metrics: Iterable[Metric], registry: CollectorRegistry) -> None:
        self._counters: dict[tuple[Metric, tuple[str, ...]], Counter] = {}
        self._histograms: dict[tuple[Metric, tuple[str, ...]], Histogram] = {}
        for metric in metrics:
            names = [label.name for label in metric.labels]
            if metric.kind is Kind.COUNTER:
                counter = Counter(metric.name, metric.help, names, registry=registry)
                for values in label_combinations(metric.labels):
                    self._counters[metric, values] = counter.labels(*values) if values else counter
            elif metric.kind is Kind.HISTOGRAM:
                histogram = Histogram(
                    metric.name, metric.help, names, registry=registry, buckets=metric.buckets
                )
                for values in label_combinations(metric.labels):
                    self._histograms[metric, values] = (
                        histogram.labels(*values) if values else histogram
                    )

    def add(self, metric: Metric, amount: float, labels: tuple[str, ...] = ()) -> None:
        """Add to a counter. labels: values in the order of the metric's labels."""
        self._counters[metric, labels].inc(amount)

    def observe(self, metric: Metric, value: float, labels: tuple[str, ...] = ()) -> None:
        """Observe a value of a histogram."""
        self._histograms[metric, labels].observe(value)


class _Gauges(Collector):
    """Reads the gauges at a scrape."""

    def __init__(self, metrics: ListedMetrics) -> None:
        self._metrics = metrics

    def describe(self) -> list[Family]:
        """Return the names without reading."""
        return [GaugeMetricFamily(m.name, m.help) for m in METRICS if m.kind is Kind.GAUGE]

    def collect(self) -> Iterable[Family]:
        for metric, value in self._metrics.load().items():
            yield GaugeMetricFamily(metric.name, metric.help, value=value)
