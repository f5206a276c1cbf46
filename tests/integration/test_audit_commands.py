"""`poste verify` and `poste export` on real services."""

import json
from typing import Any

import jsonschema
import pytest

from tests.deployment import Deployment
from tests.integration.test_cli import validated
from tests.integration.test_purge import delete_bundles, purged
from tests.unit.test_cli import schema


def verified(deployment: Deployment, *options: str, status: int = 0) -> Any:
    done = deployment.poste("verify", "--json", *options, check=False)
    assert done.returncode == status, done
    return validated("verify", done.stdout)


def total(report: Any, name: str) -> int:
    return sum(partition[name] for partition in report["partitions"])


async def test_every_record_is_found_and_what_was_taken_away_is_noticed(
    deployment: Deployment,
) -> None:
    """Stored, purged, expired or a dead letter, beside a live worker; a bundle that was deleted by
    hand is missing until a replay (G1)."""
    deployment.init(partitions=2)
    users = ("bob", "carol", "eve", "!x")
    await deployment.produce([(user, b"%d" % n) for n in range(30) for user in users])
    await deployment.produce([(None, b"nobody's"), ("bob", None), ("\x80", b"x")])
    gone = [("ce_expirytime", b"2020-01-01T00:00:00Z"), ("ce_id", b"1"), ("ce_source", b"s")]
    await deployment.produce([{"key": "zoe", "value": b"late", "headers": gone}])
    deployment.worker()
    await deployment.drained()
    assert await delete_bundles(deployment, "zoe") == 1
    purged(deployment, "carol", "--yes")
    found = verified(deployment)

    assert (found["checked"], found["problem_count"]) == (124, 0)
    names = ("stored", "purged", "expired", "dead_letter")
    assert [total(found, name) for name in names] == [91, 30, 1, 2]
    assert verified(deployment, "--partition", "1")["partitions"][0]["partition"] == 1
    assert verified(deployment, "--since", "2100-01-01T00:00:00Z")["checked"] == 0
    assert verified(deployment, "--sample", "0.0001")["checked"] < 124

    await delete_bundles(deployment, "bob")
    found = verified(deployment, status=1)
    assert total(found, "missing") == 30
    assert {problem["user_id"] for problem in found["problems"]} == {"bob"}
    said = deployment.poste("verify", check=False)
    assert "missing: " in said.stdout
    assert said.stderr.startswith("poste: 30 of 124 records are not where they have to be")


async def test_a_range_that_retention_has_removed_is_said(deployment: Deployment) -> None:
    """What is left is verified; where nothing is left there is one line (G1)."""
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"%d" % n) for n in range(20)])
    deployment.worker()
    await deployment.drained()
    deployment.admin.delete_records(deployment.topic, 0, 12)
    found = verified(deployment)

    assert found["checked"] == 8
    assert found["partitions"][0]["gone"] == {"first": 0, "end": 12}
    assert verified(deployment, "--partition", "0", "--offset", "15")["checked"] == 5
    assert (
        "removed offsets 5 to 11"
        in deployment.poste("verify", "--partition", "0", "--offset", "5").stdout
    )


async def test_everything_that_is_held_about_a_user_is_exported(deployment: Deployment) -> None:
    """Cursors, messages, dead letters and on demand records, and of nobody else."""
    deployment.init(partitions=2)
    headers = [("x", None), ("x", b"\xff")]
    await deployment.produce([
        {"key": "bob", "value": b"\xff\x00", "headers": headers}, ("bob", b"second"),
        ("eve", b"hers"), ("bob", None),
    ])  # fmt: skip
    deployment.worker()
    await deployment.drained()
    async with deployment.mailboxes() as mailboxes:
        page = await mailboxes.fetch("bob", limit=1)
        await mailboxes.ack("bob", page.receipt)
        await mailboxes.add_device("bob", "phone", "oldest")

    lines = exported(deployment, "bob", "--records")
    kinds = [line["kind"] for line in lines]
    assert kinds == ["cursor"] * 2 + ["message"] * 2 + ["dead_letter"] + ["record"] * 3 + ["end"]
    assert [line["device"] for line in lines[:2]] == [None, "phone"]
    assert lines[2]["data_base64"] == "/wA="
    assert lines[2]["headers"] == [
        {"name": "x", "value": None}, {"name": "x", "value_base64": "/w=="},
    ]  # fmt: skip
    assert lines[3]["data"] == "second"
    assert lines[4]["reason"] == "no_body"
    assert lines[-1] == {"kind": "end", "user_id": "bob", "lines": 8, "records": True}
    assert [line["kind"] for line in exported(deployment, "nobody")] == ["end"]


def exported(deployment: Deployment, user: str, *options: str) -> list[Any]:
    """The lines of an export, each held to the schema."""
    text = deployment.poste("export", user, *options).stdout
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        jsonschema.validate(line, schema("export"))
    return lines


@pytest.mark.parametrize("command", [["verify"], ["export", "bob"], ["dead-letters", "list"]])
async def test_a_dead_letter_topic_that_is_missing_is_one_line(
    deployment: Deployment, command: list[str]
) -> None:
    """Before anything is printed."""
    deployment.init(partitions=1)
    missing = f"{deployment.topic}.none"
    done = deployment.poste(*command, check=False, POSTE_KAFKA__DEAD_LETTERS_TOPIC=missing)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"poste: there is no topic '{missing}' at the broker")
