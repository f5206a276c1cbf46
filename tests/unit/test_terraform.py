"""deploy/terraform, read and evaluated by OpenTofu.

The provider for AWS cannot be had here: OpenTofu reads all files, and evaluates variables and
actions, which need no provider. Resources are held to the names of the provider's arguments and
blocks, in tests/aws_provider_schema.json: of its lowest and of a late version. Most tests need
`tofu` (`make .cache/bin/tofu`).
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hcl2
import pytest

from poste_restante.table import TABLE_SCHEMA, TTL_ATTRIBUTE
from tests.optional import built
from tests.pages import ROOT, code, page, table

MODULE = ROOT / "deploy" / "terraform"
FILES = {path.name: path.read_text() for path in sorted(MODULE.glob("*.tf"))}
ALL = "\n".join(FILES.values())
#: Files that need no provider.
PURE = ("variables.tf", "actions.tf")


def tofu(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {n: v for n, v in os.environ.items() if not n.startswith("TF_")}
    return subprocess.run(
        [built("tofu"), *arguments], cwd=directory, env=environment,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What needs no provider, with the actions as an output."""
    directory = tmp_path_factory.mktemp("terraform")
    for name in PURE:
        shutil.copy(MODULE / name, directory / name)
    (directory / "output.tf").write_text('output "actions" {\n  value = local.actions\n}\n')
    done = tofu(directory, "init", "-backend=false", "-input=false")
    assert done.returncode == 0, done.stderr
    return directory


def planned(module: Path, **variables: Any) -> subprocess.CompletedProcess[str]:
    (module / "given.auto.tfvars.json").write_text(json.dumps(variables))
    return tofu(module, "plan", "-input=false", "-no-color", "-out=plan")


def actions(module: Path, **variables: Any) -> dict[str, list[str]]:
    done = planned(module, **variables)
    assert done.returncode == 0, done.stderr
    shown = json.loads(tofu(module, "show", "-json", "plan").stdout)
    found: dict[str, list[str]] = shown["planned_values"]["outputs"]["actions"]["value"]
    return found


def block(text: str, head: str) -> str:
    """The inside of a block that begins at the left edge."""
    found = re.search(rf"(?ms)^{re.escape(head)} {{\n(.*?)^}}", text)
    assert found is not None, head
    return found[1]


def values(text: str) -> dict[str, str]:
    return dict(re.findall(r"(?m)^\s*(\w+)\s*=\s*(.+)$", text))


def test_the_files_are_read_and_in_order() -> None:
    """By OpenTofu's own parser and formatter."""
    done = tofu(MODULE, "fmt", "-check", "-diff")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_file_is_noticed(tmp_path: Path) -> None:
    """Else the test above would show nothing."""
    (tmp_path / "main.tf").write_text(FILES["main.tf"].replace("ttl {", "ttl ="))
    assert tofu(tmp_path, "fmt", "-check").returncode != 0


def test_what_is_named_is_declared_and_used() -> None:
    variables = set(re.findall(r'(?m)^variable "(\w+)"', ALL))
    resources = {f"{a}.{b}" for a, b in re.findall(r'(?m)^resource "(\w+)" "(\w+)"', ALL)}
    elsewhere = re.sub(r"(?ms)^variable .*?^}", "", ALL)

    assert set(re.findall(r"\bvar\.(\w+)", elsewhere)) == variables
    assert set(re.findall(r"\blocal\.(\w+)", ALL)) == {"actions"}
    assert set(re.findall(r"\baws_\w+\.\w+", elsewhere)) <= resources
    for name in variables:
        assert "description = " in block(FILES["variables.tf"], f'variable "{name}"')


def test_programs_may_do_what_they_call(module: Path) -> None:
    """No more and no less than the page says, which a test holds to the calls in the code."""
    rows = table(page("dynamodb"), "program", "actions")
    said = {row[0]: {code(part) for part in row[1].split(",") if "`" in part} for row in rows}
    found = actions(module)

    assert set(found) == {"gateway", "worker", "init"}
    assert set(found["gateway"]) == said["a gateway"]
    assert set(found["worker"]) == said["`poste worker`"]
    assert set(found["init"]) == said["`poste init`"]
    for listed in found.values():
        assert len(listed) == len(set(listed))


def test_gateways_that_do_not_delete_may_not(module: Path) -> None:
    found, less = actions(module), actions(module, gateways_delete=False)

    assert set(found["gateway"]) - set(less["gateway"]) == {"dynamodb:BatchWriteItem"}
    assert (less["worker"], less["init"]) == (found["worker"], found["init"])


def test_a_policy_is_for_the_table_alone() -> None:
    policy = block(FILES["main.tf"], 'resource "aws_iam_policy" "program"')

    assert values(policy)["for_each"] == "local.actions"
    assert values(policy)["Action"] == "each.value"
    assert values(policy)["Resource"] == "aws_dynamodb_table.mailboxes.arn"
    assert "*" not in policy


def test_the_table_is_the_one_that_poste_init_makes() -> None:
    """Keys, billing, time to live; and what a command cannot give back: it is protected (G4)."""
    text = block(FILES["main.tf"], 'resource "aws_dynamodb_table" "mailboxes"')
    found = values(text)
    keys = {key["KeyType"]: key["AttributeName"] for key in TABLE_SCHEMA["KeySchema"]}
    attributes = re.findall(r'attribute \{\n\s*name = "(\w+)"\n\s*type = "(\w)"', text)

    assert (found["hash_key"], found["range_key"]) == (f'"{keys["HASH"]}"', f'"{keys["RANGE"]}"')
    assert dict(attributes) == {
        each["AttributeName"]: each["AttributeType"]
        for each in TABLE_SCHEMA["AttributeDefinitions"]
    }
    assert found["billing_mode"] == f'"{TABLE_SCHEMA["BillingMode"]}"'
    assert re.search(rf'ttl \{{\n\s*attribute_name = "{TTL_ATTRIBUTE}"\n\s*enabled *= true', text)
    assert found["deletion_protection_enabled"] == "var.deletion_protection"
    assert "point_in_time_recovery {" in text
    for name, default in (("deletion_protection", "true"), ("recovery_days", "35")):
        assert values(block(FILES["variables.tf"], f'variable "{name}"'))["default"] == default


def test_every_alarm_tells_somebody_and_sleeps_where_nothing_happens() -> None:
    alarms = re.findall(r'(?ms)^resource "aws_cloudwatch_metric_alarm" "\w+" \{\n(.*?)^\}', ALL)

    assert len(alarms) == 3
    for alarm in alarms:
        found = values(alarm)
        assert found["alarm_actions"] == found["ok_actions"] == "var.alarm_actions"
        assert found["treat_missing_data"] == '"notBreaching"'
        assert found["namespace"] == '"AWS/DynamoDB"'
        assert "TableName = aws_dynamodb_table.mailboxes.name" in found["dimensions"]
    metrics = set(re.findall(r'metric_name\s*= "(?:\$\{each.key\})?(\w+)"', ALL))
    assert metrics == {"ThrottleEvents", "SystemErrors", "ConsumedWriteCapacityUnits"}


@pytest.mark.parametrize(
    "variables",
    [
        {"table_name": "a"},
        {"table_name": "mail boxes"},
        {"recovery_days": 36},
        {"recovery_days": -1},
        {"recovery_days": 1.5},
        {"write_units_per_s_max": 0},
        {"write_units_per_s_max": 1.5},
        {"write_units_per_hour_alarm": 0},
        {"policy_path": "poste"},
        {"policy_path": "/poste"},
        {"alarm_actions": ["pager"]},
        {"alarm_actions": ["arn:aws:sns:eu-central-1:123456789012:pager"] * 6},
        {"table_name": "t" * 121},
        {"write_units_per_s_max": -2},
        {"alarm_actions": "pager"},
        {"deletion_protection": "often"},
        {"tags": ["chat"]},
    ],
    ids=str,
)
def test_values_that_cannot_work_are_refused(module: Path, variables: dict[str, Any]) -> None:
    """Where it is planned; the error names the variable."""
    done = planned(module, **variables)
    (name,) = variables

    assert done.returncode != 0
    assert name in done.stderr


@pytest.mark.parametrize(
    "variables",
    [
        {"table_name": "a-b.c_d", "policy_path": "/chat/poste/"},
        {"recovery_days": 0, "deletion_protection": False},
        {"recovery_days": 1, "write_units_per_s_max": 1, "write_units_per_hour_alarm": 0.5},
        {"table_name": "t" * 120, "write_units_per_s_max": -1},
        {
            "alarm_actions": ["arn:aws:sns:eu-central-1:123456789012:pager"],
            "tags": {"team": "chat"},
        },
    ],
    ids=str,
)
def test_values_that_work_are_taken(module: Path, variables: dict[str, Any]) -> None:
    done = planned(module, **variables)
    assert done.returncode == 0, done.stderr


# ---- resources, by the provider's schema

#: Version -> type of resource -> names of its arguments and blocks.
SCHEMAS: dict[str, Any] = json.loads((ROOT / "tests/aws_provider_schema.json").read_text())
#: Arguments of Terraform itself.
META = {"for_each", "count"}


def resources(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the type and the body of each resource."""
    for resource in hcl2.loads(text).get("resource", []):
        for kind, named in resource.items():
            for body in named.values():
                yield kind.strip('"'), body


def schema_errors(where: str, body: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each argument or block that is unknown to the provider, or missing."""
    blocks: dict[str, Any] = known.get("blocks", {})
    given = dict(body)
    for dynamic in given.pop("dynamic", []):
        for name, block in dynamic.items():
            if name != "__is_block__":
                given[name.strip('"')] = block["content"]
    given.pop("__is_block__", None)
    for name, value in given.items():
        if name in blocks and isinstance(value, list):
            for inner in value:
                yield from schema_errors(f"{where}.{name}", inner, blocks[name])
        elif name not in {*known["required"], *known["optional"], *META}:
            yield f"{where} has no {name}"
    yield from (f"{where} misses {name}" for name in known["required"] if name not in given)


def schema_errors_of(text: str, version: str) -> list[str]:
    schema = SCHEMAS[version]
    return [
        line for kind, body in resources(text) for line in schema_errors(kind, body, schema[kind])
    ]


@pytest.mark.parametrize("version", SCHEMAS)
def test_the_provider_knows_every_argument_and_block(version: str) -> None:
    """Also in the lowest version that is allowed, which may lack a later argument."""
    assert {kind for kind, _ in resources(ALL)} == set(SCHEMAS[version])
    assert schema_errors_of(ALL, version) == []


def test_the_lowest_version_is_the_one_that_is_tried() -> None:
    lowest = re.search(r' version += ">= (\d+\.\d+), <', FILES["versions.tf"])
    assert lowest is not None
    assert min(SCHEMAS) == f"{lowest[1]}.0"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("hash_key ", "hash_keys", "aws_dynamodb_table has no hash_keys"),
        ("  name                        = var.table_name\n", "", "aws_dynamodb_table misses name"),
        ("recovery_period_in_days", "recovery_period_days",
         "aws_dynamodb_table.point_in_time_recovery has no recovery_period_days"),
        ("  ttl {", "  time_to_live {", "aws_dynamodb_table has no time_to_live"),
        ('dynamic "on_demand_throughput"', 'dynamic "throughput"',
         "aws_dynamodb_table has no throughput"),
        ('    type = "S"\n', "", "aws_dynamodb_table.attribute misses type"),
        ("metric_name ", "metricname", "aws_cloudwatch_metric_alarm has no metricname"),
        ("  policy = jsonencode", "  document = jsonencode", "aws_iam_policy misses policy"),
    ],
)  # fmt: skip
def test_what_the_provider_would_refuse_is_noticed(old: str, new: str, line: str) -> None:
    """Else the test above would show nothing."""
    assert old in ALL
    assert line in schema_errors_of(ALL.replace(old, new), min(SCHEMAS))
