"""Dead letters by command: found, shown and sent again, on real services."""

import json
import signal
from typing import Any

import jsonschema
import pytest

from tests.deployment import Deployment
from tests.integration.test_cli import validated
from tests.unit.test_cli import schema


def lines(text: str) -> list[Any]:
    """JSON lines of a replay, each held to its schema."""
    found = [json.loads(line) for line in text.splitlines()]
    for each in found:
        jsonschema.validate(each, schema("dead-letters-replay"))
    return found


async def with_dead_letters(deployment: Deployment) -> str:
    """Two of bob's malformed events and a record without a key, in the dead-letter topic; its
    name."""
    deployment.init(partitions=2)
    event = [("ce_specversion", b"1.0"), ("ce_id", b"7"), ("ce_type", b"t")]  # without a source
    await deployment.produce([
        {"key": "bob", "value": b"first", "headers": event, "partition": 1},
        {"key": "bob", "value": b"good", "partition": 1},
        {"key": "bob", "value": b"\xff\x00", "headers": [*event, ("x", None)], "partition": 1},
        {"key": None, "value": b"nobody's", "partition": 0},
    ])  # fmt: skip
    deployment.worker()
    await deployment.drained()
    return f"{deployment.topic}.dead-letters"


async def test_dead_letters_are_listed_and_shown(deployment: Deployment) -> None:
    """By reason, place and time; a body byte for byte (G9)."""
    topic = await with_dead_letters(deployment)
    listed = validated(
        "dead-letters-list", deployment.poste("dead-letters", "list", "--json").stdout
    )
    bobs = validated(
        "dead-letters-list",
        deployment.poste(
            "dead-letters", "list", "--json", "--reason", "malformed_cloudevent"
        ).stdout,
    )["dead_letters"]
    first = deployment.poste("dead-letters", "list", "--json", "--limit", "1").stdout
    later = deployment.poste("dead-letters", "list", "--since", "2100-01-01T00:00:00Z").stdout
    place = f"{bobs[1]['partition']}/{bobs[1]['offset']}"
    shown = validated(
        "dead-letters-show", deployment.poste("dead-letters", "show", place, "--json").stdout
    )

    assert (listed["topic"], len(listed["dead_letters"]), listed["next"]) == (topic, 3, None)
    assert validated("dead-letters-list", first)["next"] is not None
    assert later == f"no dead letter of {topic} is selected\n"
    assert [each["source"] for each in bobs] == [
        {"partition": 1, "offset": 0}, {"partition": 1, "offset": 2},
    ]  # fmt: skip
    assert shown["data_base64"] == "/wA="
    assert {"name": "x", "value": None} in shown["headers"]
    assert "malformed_cloudevent" in deployment.poste("dead-letters", "list").stdout
    assert "header x: none" in deployment.poste("dead-letters", "show", place).stdout


async def test_a_replay_sends_the_record_again_and_only_with_yes(deployment: Deployment) -> None:
    """Same key, value and headers, in the partition that its producer chose; what is not good
    becomes a dead letter again (G9)."""
    topic = await with_dead_letters(deployment)
    chosen = ("dead-letters", "replay", "--reason", "malformed_cloudevent")
    would = deployment.poste(*chosen).stdout
    before = await deployment.consumed(deployment.topic, 4)
    sent = lines(deployment.poste(*chosen, "--json", "--yes").stdout)
    records = [r for r in await deployment.consumed(deployment.topic, 6) if r.partition == 1]

    assert would.splitlines()[-1] == "nothing was sent: add --yes to send 2"
    assert len(before) == 4
    assert [each["sent_to"] for each in sent] == [
        {"partition": 1, "offset": 3}, {"partition": 1, "offset": 4},
    ]  # fmt: skip
    for old, new in zip((records[0], records[2]), records[3:], strict=True):
        assert (new.key, new.value, new.headers) == (old.key, old.value, old.headers)
    await deployment.drained()
    assert len(await deployment.consumed(topic, 5)) == 5
    assert await deployment.bodies("bob") == [b"good"]


async def test_a_record_is_replayed_once_however_often_it_was_dead_lettered(
    deployment: Deployment,
) -> None:
    """A replay of the topic sends its dead letters again (G9)."""
    topic = await with_dead_letters(deployment)
    deployment.workers[0].signal(signal.SIGTERM)
    assert await deployment.exited(deployment.workers[0]) == 0
    deployment.poste("rewind", "--to", "0", "--yes")
    deployment.worker()
    await deployment.drained()
    assert len(await deployment.consumed(topic, 6)) == 6
    would = lines(deployment.poste("dead-letters", "replay", "--all", "--json").stdout)

    assert len(would) == 3
    assert [each["sent_to"] for each in would] == [None] * 3


async def test_a_foreign_record_is_shown_and_never_sent(deployment: Deployment) -> None:
    """Left out of a selection; refused where it is named, before anything is sent (G9)."""
    topic = await with_dead_letters(deployment)
    ((partition, offset),) = await deployment.produce(
        [{"key": "eve", "value": b"mine", "partition": 0}], topic=topic
    )
    foreign = f"{partition}/{offset}"
    listed = deployment.poste("dead-letters", "list").stdout
    everything = deployment.poste("dead-letters", "replay", "--all", "--yes").stdout
    replayed = [line.split()[1] for line in everything.splitlines() if "replayed" in line]
    named = deployment.poste("dead-letters", "replay", replayed[-1], foreign, "--yes", check=False)

    assert "it has no header dead-letter-detail" in listed
    assert f"left out {foreign}: it has no header dead-letter-detail" in everything
    assert len(replayed) == 3
    assert named.returncode == 1
    assert named.stdout == ""
    assert "is no dead letter of" in named.stderr
    assert len(await deployment.consumed(deployment.topic, 7)) == 7


@pytest.mark.parametrize("place", ["0/99", "7/0"])
def test_a_place_without_a_record_is_one_line(deployment: Deployment, place: str) -> None:
    """The range that is there is named (an operator can act)."""
    deployment.init(partitions=2)
    done = deployment.poste("dead-letters", "show", place, check=False)

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "has no record at 0/99" in done.stderr or "has no partition 7" in done.stderr
