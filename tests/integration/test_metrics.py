"""The metrics of a real worker, scraped by a real Prometheus."""

from functools import partial
from pathlib import Path

from local.ready import free_ports
from tests.deployment import Deployment
from tests.optional import need
from tests.prometheus import panels, prometheus, rules

#: Records that become messages, and one that becomes a dead letter.
RECORDS = [*[(f"user-{n}", b"hello") for n in range(50)], ("bad", None)]


async def test_a_real_prometheus_has_data_for_every_panel_and_evaluates_every_rule(
    deployment: Deployment, tmp_path: Path
) -> None:
    """What the dashboard asks for is what a worker serves."""
    need("prometheus")
    deployment.init(partitions=2)
    (port,) = free_ports(1)
    with prometheus(tmp_path, f"127.0.0.1:{port}") as scraped:
        deployment.worker(POSTE_HTTP__PORT=str(port))
        await scraped.until_ready()
        await deployment.until(
            lambda: scraped.query("poste_joined == 1"), "the worker is joined and scraped"
        )
        await deployment.produce(RECORDS)
        for query in (
            f"sum(poste_records_total) == {len(RECORDS)}",
            "sum(poste_messages_total) == 50",
            "sum(poste_bundles_total) == 50",
            'sum(poste_dead_letters_total{reason="no_body"}) == 1',
            "sum(poste_store_write_units_total) == 50",
            "sum(poste_flush_records_sum) == 51",
            'sum(poste_commits_total{outcome="committed"}) > 0',
            "sum(poste_partition_lag_records) == 0",
            "poste_topic_retention_seconds == 604800",
        ):
            await deployment.until(partial(scraped.query, query), query)

        for title, queries in panels().items():
            for query in queries:
                await deployment.until(partial(scraped.query, query), f"{title} has data: {query}")
        groups = (await scraped.get("rules"))["groups"]
        loaded = [rule for group in groups for rule in group["rules"]]
        assert {rule["name"] for rule in loaded} == {rule["alert"] for rule in rules()}
        assert {rule["health"] for rule in loaded} == {"ok"}
        assert not await scraped.query('ALERTS{alertstate="firing",alertname!="PosteDeadLetters"}')


async def test_metrics_are_served_while_a_worker_waits_for_its_services(
    deployment: Deployment, tmp_path: Path
) -> None:
    """And say that it does."""
    need("prometheus")
    deployment.init(partitions=1)
    port, nobody = free_ports(2)
    with prometheus(tmp_path, f"127.0.0.1:{port}") as scraped:
        deployment.worker(
            POSTE_HTTP__PORT=str(port), AWS_ENDPOINT_URL_DYNAMODB=f"http://127.0.0.1:{nobody}"
        )
        await scraped.until_ready()
        for query in (
            "poste_joined == 0",
            'poste_phase{phase="waiting_for_dynamodb"} == 1',
            'poste_waiting_seconds{service="dynamodb"} > 0',
            'poste_store_calls_total{operation="GetItem",outcome="unavailable"} > 0',
        ):
            await deployment.until(partial(scraped.query, query), query)
