"""Our Prometheus rules and Grafana dashboard: what they name exists, and is explained."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from poste_restante.metric_types import Kind
from tests.optional import need
from tests.pages import anchors, page
from tests.prometheus import RULES, panels, rules
from worker.metrics import METRICS

#: Metrics of prometheus-client and of Prometheus that our expressions may name.
FOREIGN = {
    "process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total",
}  # fmt: skip
SCENARIOS = RULES.with_name("alerts_test.yml")


def exposed() -> set[str]:
    names = {metric.exposed for metric in METRICS if metric.kind is not Kind.HISTOGRAM}
    for metric in METRICS:
        if metric.kind is Kind.HISTOGRAM:
            names |= {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
    return names


def named(expression: str) -> set[str]:
    """The metrics that an expression names."""
    return set(re.findall(r"\b(?:poste|process)_[a-z_]+\b", expression))


def labelled(expression: str) -> Any:
    """Each selector: a metric, and the label that it compares."""
    for metric, selector in re.findall(r"\b(poste_[a-z_]+)\{([^}]*)\}", expression):
        for label in re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selector):
            yield metric, label


def expressions() -> list[str]:
    return [rule["expr"] for rule in rules()] + [
        q for queries in panels().values() for q in queries
    ]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_metrics_and_labels_that_exist(expression: str) -> None:
    assert named(expression) <= exposed() | FOREIGN
    labels = {metric.exposed: {label.name for label in metric.labels} for metric in METRICS}
    for metric, label in labelled(expression):
        known = labels.get(re.sub(r"_(bucket|sum|count)$", "", metric), labels.get(metric, set()))
        assert label in known | {"job", "instance"}, (metric, label)


def test_the_dashboard_shows_every_metric() -> None:
    shown = set().union(*(named(query) for queries in panels().values() for query in queries))
    for metric in METRICS:
        if metric.name not in {"poste_memory_limit_bytes", "poste_build"}:
            assert any(name.startswith(metric.name) for name in shown), metric.name


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_has_a_runbook_that_begins_with_its_symptom(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
    text = page("runbook")
    assert name.lower() in anchors(text)
    section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert section.strip().startswith("**Symptom.**"), name
    assert "**Do.**" in section, name


def test_every_alert_has_a_scenario_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    scenarios = [
        case
        for test in yaml.safe_load(SCENARIOS.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    names = {rule["alert"] for rule in rules()}
    assert {case["alertname"] for case in scenarios if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in scenarios if not case.get("exp_alerts")} == names


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    need("promtool")
    return subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_promtool_accepts_the_rules_and_every_query_of_the_dashboard(tmp_path: Path) -> None:
    queries = tmp_path / "queries.yml"
    recorded = [
        {"record": f"query:{n}", "expr": query}
        for n, query in enumerate(q for queries in panels().values() for q in queries)
    ]
    queries.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    for file in (RULES, queries):
        done = promtool("check", "rules", file)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_evaluates_the_rules_as_the_scenarios_expect() -> None:
    done = promtool("test", "rules", SCENARIOS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_notices_each_rule_that_does_not_fire(tmp_path: Path) -> None:
    """The scenarios can fail: each threshold that is raised is noticed."""
    (tmp_path / SCENARIOS.name).write_text(SCENARIOS.read_text())
    raised = re.sub(r"(?<=> )\d+$", "9999999", RULES.read_text(), flags=re.MULTILINE)
    (tmp_path / RULES.name).write_text(raised)
    (group,) = yaml.safe_load(raised)["groups"]
    silent = {
        after["alert"] for before, after in zip(rules(), group["rules"], strict=True)
        if before["expr"] != after["expr"]
    }  # fmt: skip
    done = promtool("test", "rules", tmp_path / SCENARIOS.name)

    assert len(silent) >= 7
    assert done.returncode != 0
    assert silent <= set(re.findall(r"alertname: (\w+)", done.stdout + done.stderr))
