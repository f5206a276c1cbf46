"""The adapter for prometheus-client, by the text that a registry serves."""

import gc

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from poste_restante import Mailboxes, StoreUnavailable
from poste_restante.metric_list import METRICS
from poste_restante.metric_types import Kind
from poste_restante.metrics import Metrics
from poste_restante.prometheus_metrics import PrometheusMetrics
from poste_restante.testing import InMemoryMailboxes
from tests.fake_table import InMemoryTable
from tests.faults import refuses
from tests.mailbox_table import MailboxTable


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> PrometheusMetrics:
    return PrometheusMetrics(registry)


def values(registry: CollectorRegistry) -> dict[str, float]:
    """What Prometheus scrapes, by `name{label="value"}`; without the buckets."""
    found = {}
    for family in parse_text(generate_latest(registry).decode()):
        for sample in family.samples:
            if sample.name.endswith(("_bucket", "_created")):
                continue
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def counted(registry: CollectorRegistry) -> dict[str, float]:
    """The series that are not 0, without seconds, which differ from run to run."""
    return {name: v for name, v in values(registry).items() if v and "_seconds_sum" not in name}


def test_the_registry_has_the_list_and_nothing_else(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    """Each with its type and help; every series begins at 0."""
    assert metrics.load()
    encode, _ = choose_encoder("application/openmetrics-text;version=1.0.0")
    parsed = parse_openmetrics(encode(registry).decode())  # type: ignore[no-untyped-call]
    families = {family.name: family for family in parsed}
    assert {name: (f.type, f.documentation) for name, f in families.items()} == {
        m.name: (str(m.kind), m.help) for m in METRICS
    }
    assert set(values(registry).values()) == {0}
    samples = sum(len(family.samples) for family in families.values())
    assert samples < 300  # of a process, whatever its users


async def test_fetches_and_acks_are_counted(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    mailboxes = InMemoryMailboxes(metrics=metrics)
    for _ in range(3):
        mailboxes.deliver("bob", b"hello")
    async for page in mailboxes.pages("bob", limit=2):
        await mailboxes.ack("bob", page.receipt)
    mailboxes.fail_next(StoreUnavailable("slow down", throttled=True))
    with pytest.raises(StoreUnavailable):
        await mailboxes.fetch("bob")

    assert counted(registry) == {
        'poste_reader_calls_total{operation="fetch",outcome="ok"}': 2,
        'poste_reader_calls_total{operation="fetch",outcome="throttled"}': 1,
        'poste_reader_calls_total{operation="ack",outcome="ok"}': 2,
        'poste_reader_call_seconds_count{operation="fetch"}': 3,
        'poste_reader_call_seconds_count{operation="ack"}': 2,
        "poste_reader_page_messages_count": 2,
        "poste_reader_page_messages_sum": 3,
        "poste_reader_page_bytes_count": 2,
        "poste_reader_page_bytes_sum": 15,
        'poste_reader_prefetches_total{result="hit"}': 1,
    }
    assert values(registry)['poste_reader_call_seconds_sum{operation="fetch"}'] > 0


async def test_calls_to_dynamodb_are_counted(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    mailbox_table = MailboxTable(InMemoryTable(), "mailboxes")
    await mailbox_table.open()
    await mailbox_table.deliver_offsets(1)
    mailbox_table.mailboxes = mailbox_table.reader(metrics=metrics, calls_in_flight_max=7)
    await mailbox_table.mailboxes.ack("bob", await mailbox_table.receipt())
    mailbox_table.client.faults = [refuses("ThrottlingException")]
    with pytest.raises(StoreUnavailable):
        await mailbox_table.mailboxes.fetch("bob")

    stored = {name: v for name, v in counted(registry).items() if "_store_" in name}
    assert stored == {
        'poste_reader_store_calls_total{operation="Query",outcome="ok"}': 2,
        'poste_reader_store_calls_total{operation="Query",outcome="throttled"}': 1,
        'poste_reader_store_calls_total{operation="UpdateItem",outcome="ok"}': 1,
        'poste_reader_store_call_seconds_count{operation="Query"}': 3,
        'poste_reader_store_call_seconds_count{operation="UpdateItem"}': 1,
        'poste_reader_store_throttles_total{reason="ThrottlingException"}': 1,
        "poste_reader_store_read_units_total": 2,
        "poste_reader_store_write_units_total": 1,
        "poste_reader_store_calls_limit": 7,
    }


def test_the_gauges_are_sums_of_the_mailboxes_that_are_there(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    """Those over a client of their owner's say no end: they are held weakly."""

    def limit() -> float:
        return values(registry)["poste_reader_store_calls_limit"]

    first = Mailboxes(InMemoryTable(), calls_in_flight_max=5, metrics=metrics)
    second = Mailboxes(InMemoryTable(), calls_in_flight_max=3, metrics=metrics)
    assert limit() == 8
    del first
    gc.collect()
    assert limit() == 3
    del second
    gc.collect()
    assert limit() == 0


def test_a_second_one_in_a_registry_is_refused_in_one_line(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    """Its counters would be the first one's; the first stays as it is (G9)."""
    before = values(registry)
    with pytest.raises(ValueError, match="has the reader's metrics already: make one") as caught:
        PrometheusMetrics(registry)
    assert "\n" not in str(caught.value)
    assert values(registry) == before
    assert metrics.load()


def test_the_default_is_the_librarys_registry(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    metrics: Metrics = PrometheusMetrics()
    assert isinstance(metrics, PrometheusMetrics)
    assert len([m for m in METRICS if m.kind is Kind.GAUGE]) == 3
    assert "poste_reader_store_calls_limit" in values(registry)
