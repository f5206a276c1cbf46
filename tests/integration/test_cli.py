"""The command as people and scripts use it: the real program on the real services."""

import json
import signal
import socket
import subprocess
import sys
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from tests.deployment import COMMAND_S_MAX, Deployment


def validated(name: str, text: str) -> Any:
    """An object of `--json`, held to its schema."""
    found = json.loads(text)
    schema = json.loads(files("worker.cli").joinpath("schemas", f"{name}.json").read_text())
    jsonschema.validate(found, schema)
    return found


def test_init_twice_makes_everything_once(deployment: Deployment) -> None:
    """The first run says what it made, the second what it found; a check before says what is
    missing and makes nothing (G6)."""
    before = deployment.poste("init", "--check", check=False)
    first = deployment.poste(
        "init", "--partitions", "3", "--replication-factor", "1"
    ).stdout.splitlines()
    second = deployment.poste("init").stdout.splitlines()

    assert before.returncode == 1
    words = [line.split()[0] for line in before.stdout.splitlines()]
    assert words == ["missing"] * 3 + ["note"]
    assert [line.split()[0] for line in first] == ["made"] * 5 + ["note"]
    assert [line.split()[0] for line in second] == ["ok"] * 5 + ["note"]
    assert "partitioner=murmur2_random" in second[-1]
    assert [line[8:] for line in second] == [line[8:] for line in first]
    assert deployment.poste("init", "--check").stdout.splitlines() == second


async def test_a_message_is_sent_fetched_and_acknowledged(deployment: Deployment) -> None:
    """The whole path by hand: what was sent is fetched as an event, and after its ack nothing is
    (G1, G4, G6)."""
    deployment.init()
    deployment.worker()
    sent = deployment.poste(
        "send", "bob", "héllo", "--id", "1", "--source", "/me", "--type", "chat"
    )
    deployment.poste("send", "bob", "second")
    deployment.poste("send", "bob", "over at once", "--expires-in", "0")
    deployment.poste("send", "alice", "hers")
    await deployment.drained()
    page = validated("fetch", deployment.poste("fetch", "bob", "--json").stdout)

    first, second = page["messages"]
    place = (
        f"sent to {deployment.topic}, partition {first['partition']}, offset {first['offset']}\n"
    )
    assert sent.stdout == place
    assert first["event"].items() >= {
        "specversion": "1.0", "id": "1", "source": "/me", "type": "chat", "data": "héllo",
        "datacontenttype": "text/plain; charset=utf-8",
    }.items()  # fmt: skip
    assert second["event"]["data"] == "second"
    assert not page["more"]

    assert deployment.poste("ack", "bob", page["receipt"]).stdout == "acknowledged\n"
    assert validated("fetch", deployment.poste("fetch", "bob", "--json").stdout)["messages"] == []
    assert deployment.poste("ack", "bob", page["receipt"]).stdout == "acknowledged\n"
    assert "hers" in deployment.poste("fetch", "alice").stdout


async def test_fetch_pages_by_receipts(deployment: Deployment) -> None:
    """`--limit` and `--after` show everything once (G2, G5)."""
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"%d" % n) for n in range(5)])
    deployment.worker(POSTE_BUNDLE__MESSAGES_MAX="2")
    await deployment.drained()
    seen: list[str] = []
    after: list[str] = []
    while True:
        done = deployment.poste("fetch", "bob", "--json", "--limit", "2", *after)
        page = validated("fetch", done.stdout)
        seen += [m["event"]["data"] for m in page["messages"]]
        if not page["more"]:
            break
        after = ["--after", page["receipt"]]

    assert seen == ["0", "1", "2", "3", "4"]


async def test_a_device_is_fetched_and_acknowledged_for_itself(deployment: Deployment) -> None:
    """And is listed; a receipt that is kept needs no acknowledgement (G12)."""
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"%d" % n) for n in range(3)])
    deployment.worker()
    await deployment.drained()

    def fetched(*options: str) -> Any:
        return validated("fetch", deployment.poste("fetch", "bob", "--json", *options).stdout)

    first = fetched("--device", "phone", "--limit", "2")
    deployment.poste("ack", "bob", first["receipt"], "--device", "phone")
    rest = fetched("--device", "phone")
    assert [m["event"]["data"] for m in rest["messages"]] == ["2"]
    assert len(fetched()["messages"]) == 3
    kept = fetched("--limit", "1")["receipt"]
    assert [m["event"]["data"] for m in fetched("--since", kept)["messages"]] == ["1", "2"]

    found = validated("devices", deployment.poste("devices", "bob", "--json").stdout)
    assert [each["device"] for each in found["devices"]] == ["phone"]
    assert "phone" in deployment.poste("devices", "bob").stdout
    refused = deployment.poste("ack", "bob", first["receipt"], check=False)
    assert refused.returncode == 1
    assert "another device" in refused.stderr


async def test_progress_shows_every_partition(deployment: Deployment) -> None:
    """What a script reads, and what a person does (G1)."""
    deployment.fresh = True
    deployment.init(partitions=2)
    empty = validated("progress", deployment.poste("progress", "--json").stdout)
    assert [p["next"] for p in empty["partitions"]] == [None, None]

    await deployment.produce([{"key": "bob", "value": b"x", "partition": 0}] * 3)
    deployment.worker()
    await deployment.drained()
    found = validated("progress", deployment.poste("progress", "--json").stdout)
    table = deployment.poste("progress").stdout

    assert (found["topic"], found["table"], found["group"]) == (
        deployment.topic, deployment.table, deployment.group,
    )  # fmt: skip
    first = found["partitions"][0]
    assert (first["next"], first["log_end"], first["lag"], first["group_offset"]) == (3, 3, 0, 3)
    assert first["origin"] == 0
    assert first["written_at"] is not None
    assert table.splitlines()[0] == f"{deployment.topic} -> {deployment.table}"
    assert len(table.splitlines()) == 4


async def test_a_dry_run_changes_nothing(deployment: Deployment) -> None:
    """Without `--yes` a move is said and not made; with it, it is made once (G1)."""
    deployment.init(partitions=1)
    deployment.poste("epoch", "--yes")
    await deployment.produce([("bob", b"%d" % n) for n in range(10)])
    before = deployment.progress()
    said = deployment.poste("skip", "--partition", "0", "--to", "end").stdout
    assert deployment.progress() == before

    done = deployment.poste("skip", "--partition", "0", "--to", "end", "--yes").stdout
    again = deployment.poste("skip", "--partition", "0", "--to", "end", "--yes").stdout
    (after,) = deployment.progress()

    move = "partition 0: progress 0 -> 10, and the group's offset; 10 offsets are left out for good"
    assert said == f"would move {move}\nnothing was changed: add --yes to do it\n"
    assert done == f"moving {move}\ndone: start the workers\n"
    assert again == "there is nothing to move\n"
    assert (after["next"], after["origin"], after["group_offset"]) == (10, 10, 10)


async def test_a_rewind_by_minutes_replays_and_shows_nothing_twice(deployment: Deployment) -> None:
    """After a restore of the table: progress and group go back, mailboxes stay as they were (G4,
    G5)."""
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"%d" % n) for n in range(10)])
    worker = deployment.worker()
    await deployment.drained()
    worker.signal(signal.SIGTERM)
    assert await deployment.exited(worker) == 0
    deployment.poste("rewind", "--minutes", "10", "--yes")
    (moved,) = deployment.progress()
    deployment.worker()
    await deployment.drained()

    assert (moved["next"], moved["group_offset"], moved["lag"]) == (0, 0, 10)
    assert await deployment.bodies("bob") == [b"%d" % n for n in range(10)]


async def test_the_next_epoch_is_opened_by_one_command(deployment: Deployment) -> None:
    """Every partition at the log's start, then the table (G4, G10)."""
    deployment.init(partitions=2)
    await deployment.produce([{"key": "bob", "value": b"x", "partition": 1}])
    said = deployment.poste("epoch").stdout
    deployment.poste("epoch", "--yes")
    deployment.poste("epoch", "--yes")
    found = validated("progress", deployment.poste("progress", "--json").stdout)

    assert said.splitlines()[-2:] == [
        "would move the table to epoch 2",
        "nothing was changed: add --yes to do it",
    ]
    assert found["epoch"] == 3
    assert [(p["epoch"], p["next"]) for p in found["partitions"]] == [(3, 0), (3, 0)]


@pytest.mark.parametrize(
    "command",
    [
        ["progress"], ["send", "bob", "hello"], ["purge", "bob", "--yes"], ["export", "bob"],
        ["verify"], ["dead-letters", "list"], ["dead-letters", "replay", "--all", "--yes"],
    ],
)  # fmt: skip
def test_ctrl_c_ends_a_command_that_waits(deployment: Deployment, command: list[str]) -> None:
    """With 130 and without a traceback, while a broker takes the connection and says nothing."""
    deployment.init(partitions=1)  # some ask the store first
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(COMMAND_S_MAX)
        address = "{}:{}".format(*silent.getsockname())
        program = subprocess.Popen(
            [sys.executable, "-m", "worker", *command],
            env={**deployment.environment, "POSTE_KAFKA__BOOTSTRAP_SERVERS": address},
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        connection, _ = silent.accept()
        with connection:
            program.send_signal(signal.SIGINT)
            _, said = program.communicate(timeout=COMMAND_S_MAX)

    assert program.returncode == 130
    assert said.strip() == ""


async def test_a_body_is_sent_from_standard_input_as_an_event_or_plain(
    deployment: Deployment,
) -> None:
    """Byte for byte, with further headers (G2)."""
    deployment.init(partitions=1)

    def sent(body: bytes, *options: str) -> None:
        command = [sys.executable, "-m", "worker", "send", "bob", "-", *options]
        subprocess.run(
            command, input=body, env=deployment.environment, check=True, capture_output=True,
            timeout=COMMAND_S_MAX,
        )  # fmt: skip

    sent(b"\xff\x00", "--header", "trace=00-1", "--header", "trace=")
    sent(b"plain\n", "--plain", "--header", "ce=x=y")
    sent(b"{}", "--header", "content-type=application/json", "--id", "7")
    event, plain, typed = await deployment.consumed(deployment.topic, 3)

    assert [r.value for r in (event, plain, typed)] == [b"\xff\x00", b"plain\n", b"{}"]
    assert event.headers[4:] == (
        ("content-type", b"application/octet-stream"), ("trace", b"00-1"), ("trace", b""),
    )  # fmt: skip
    assert plain.headers == (("ce", b"x=y"),)
    assert ("ce_id", b"7") in typed.headers
    assert [v for n, v in typed.headers if n == "content-type"] == [b"application/json"]


def started(deployment: Deployment, *arguments: str, **env: str) -> "subprocess.Popen[str]":
    """A command that goes on until it is ended."""
    return subprocess.Popen(
        [sys.executable, "-m", "worker", *arguments], env={**deployment.environment, **env},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


async def test_fetch_follows_a_mailbox(deployment: Deployment) -> None:
    """All of it page by page, then what arrives, until Ctrl-C; connections as options (G2, G5)."""
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"%d" % n) for n in range(3)])
    deployment.worker()
    await deployment.drained()
    everything = deployment.poste("fetch", "bob", "--all", "--limit", "2", "--json").stdout
    pages = [validated("fetch", line) for line in everything.splitlines()]
    assert [[m["event"]["data"] for m in page["messages"]] for page in pages] == [["0", "1"], ["2"]]

    command = ["fetch", "bob", "--follow", "--json", "--table", deployment.table]
    program = started(deployment, *command, POSTE_DYNAMODB__TABLE="another")
    assert program.stdout is not None
    first = validated("fetch", program.stdout.readline())
    await deployment.produce([("bob", b"3")])
    second = validated("fetch", program.stdout.readline())
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=COMMAND_S_MAX)

    assert len(first["messages"]) == 3
    assert [m["event"]["data"] for m in second["messages"]] == ["3"]
    assert (program.returncode, said.strip()) == (130, "")


async def test_progress_is_watched_and_its_lag_is_an_exit_status(deployment: Deployment) -> None:
    """For scripts, and for a person who waits (G1)."""
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"x")] * 3)
    late = deployment.poste("progress", "--max-lag", "2", "--json", check=False)
    assert (late.returncode, validated("progress", late.stdout)["partitions"][0]["lag"]) == (1, 3)
    assert deployment.poste("progress", "--max-lag", "3").returncode == 0

    program = started(deployment, "progress", "--json", "--watch", "--interval", "0.1")
    assert program.stdout is not None
    before = validated("progress", program.stdout.readline())
    deployment.worker()
    await deployment.drained()
    for line in program.stdout:
        after = validated("progress", line)
        if after["partitions"][0]["lag"] == 0:
            break
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=COMMAND_S_MAX)
    assert before["partitions"][0]["lag"] == 3
    assert program.returncode == 130


async def test_workers_move_to_a_mirrored_topic_by_one_command(deployment: Deployment) -> None:
    """Other offsets, and the group's as the mirror translates them: nothing is lost, what was read
    in the old cluster is not shown again, and what was acknowledged stays so (G1, G4, G10)."""
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"%d" % n) for n in range(10)])
    worker = deployment.worker()
    await deployment.drained()
    async with deployment.mailboxes() as mailboxes:
        page = await mailboxes.fetch("bob", limit=4)
        await mailboxes.ack("bob", page.receipt)
    worker.signal(signal.SIGTERM)
    assert await deployment.exited(worker) == 0

    deployment.delete_topic()
    await deployment.create_topic_again(1)
    await deployment.produce([("bob", b"%d" % n) for n in range(6, 12)])  # 10 and 11 are unread
    deployment.move_group(4)
    said = deployment.poste("epoch", "--to", "group").stdout
    deployment.poste("epoch", "--to", "group", "--yes")
    deployment.worker()
    await deployment.drained()

    assert "epoch 1 -> 2, progress 10 -> 4" in said
    assert await deployment.bodies("bob") == [b"%d" % n for n in range(4, 12)]


async def test_all_partitions_are_skipped_by_one_command(deployment: Deployment) -> None:
    """A backlog that nobody wants; what is further already stays (G1)."""
    deployment.init(partitions=2)
    deployment.poste("epoch", "--yes")
    await deployment.produce([{"key": "bob", "value": b"x", "partition": n % 2} for n in range(6)])
    deployment.poste("skip", "--partition", "1", "--to", "2", "--yes")
    said = deployment.poste("skip", "--all", "--to", "1", "--yes").stdout
    assert "partition 0: progress 0 -> 1" in said
    assert "partition 1" not in said
    deployment.poste("skip", "--all", "--to", "end", "--yes")

    assert [p["next"] for p in deployment.progress()] == [3, 3]
