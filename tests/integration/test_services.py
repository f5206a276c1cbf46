"""The services themselves: they answer, keep their data, stay on the loopback, and end with us."""

import asyncio
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aioboto3
import pytest

from local import KAFKA_ADDRESS, Services
from local.child import Child
from local.choose import DOCKER, DYNAMODB_ADDRESS, way
from local.ready import free_ports, wait_until
from poste_restante.table import TABLE_SCHEMA
from tests.deployment import Deployment

ROOT = Path(__file__).parents[2]
#: Seconds until a condition must hold, on a busy machine.
DEADLINE_S = 60.0
#: Seconds until both services are up and one worker is ready; 10 measured.
UP_S_MAX = 120.0

_TOPICS = "org.apache.kafka.tools.TopicCommand"


async def test_kafka_keeps_its_data_and_port_over_kill_9(
    own: Services, own_deployment: Deployment
) -> None:
    """What was acknowledged before is there after, and the address has not changed: a test of G1
    that kills a broker loses nothing by the harness."""
    kafka = own.kafka
    assert kafka is not None
    before = kafka.bootstrap
    own_deployment.create_topic(1)
    await own_deployment.produce([("bob", b"one"), ("bob", b"two")])
    kafka.kill()
    await asyncio.to_thread(kafka.start)

    assert kafka.bootstrap == before
    found = await own_deployment.consumed(own_deployment.topic, 2)
    assert [record.value for record in found] == [b"one", b"two"]


def test_a_tool_that_fails_says_why(services: Services) -> None:
    """Its own words, not only a status."""
    if services.tool is None:
        pytest.fail(f"this test uses Kafka's own tools: give no {KAFKA_ADDRESS}")
    with pytest.raises(RuntimeError, match=r"no-such-topic.*does not exist"):
        services.tool(_TOPICS, "--describe", "--topic", "no-such-topic")


async def test_dynamodb_is_empty_after_kill_9(own: Services, table_name: str) -> None:
    """It is in memory: a table is gone, which is how a test replaces one; the address stays."""
    assert own.dynamodb is not None
    async with aioboto3.Session().client("dynamodb", endpoint_url=own.endpoint) as client:
        await client.create_table(TableName=table_name, **TABLE_SCHEMA)
        assert table_name in (await client.list_tables())["TableNames"]
        own.dynamodb.kill()
        own.dynamodb.start()
        assert (await client.list_tables())["TableNames"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is this host on Linux alone")
def test_both_are_on_the_loopback_alone(services: Services) -> None:
    """A service without a password is nobody else's: what listens on every address would answer
    on 127.0.0.2 as well."""
    ports = [
        int(address.rpartition(":")[2])
        for ours, address in (
            (services.tool, services.bootstrap),
            (services.credentials, services.endpoint),
        )
        if ours
    ]
    for port in ports:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=5)


# ---- they end with us


def descendants(pid: int) -> set[int]:
    """The processes that this one has started, and those that they have."""
    children: dict[int, set[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended between the two
        children.setdefault(parent, set()).add(int(path.parent.name))
    found: set[int] = set()
    more = {pid}
    while more:
        more = {child for parent in more for child in children.get(parent, ())} - found
        found |= more
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended: there is none, or one that only waits to be reaped."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def runs(word: str, pids: set[int]) -> bool:
    """Whether the command of one of these processes has this word."""
    for pid in pids:
        try:
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended between the two
    return False


def all_gone(pids: set[int]) -> None:
    wait_until(lambda: all(map(gone, pids)), what=f"the end of {pids}", seconds=DEADLINE_S)


@pytest.fixture
def running(tmp_path: Path, unique: str) -> Child:
    """`make run` on services that it has to start itself, in names of its own."""
    away = (KAFKA_ADDRESS, DYNAMODB_ADDRESS)
    environment = {
        **{name: value for name, value in os.environ.items() if name not in away},
        "TMPDIR": str(tmp_path),
        "POSTE_KAFKA__TOPIC": f"undelivered-{unique}",
        "POSTE_DYNAMODB__TABLE": f"mailboxes-{unique}",
        "POSTE_HTTP__PORT": str(free_ports(1)[0]),
    }
    return Child([sys.executable, "-m", "local.run"], log=tmp_path / "run.log",
                 env=environment)  # fmt: skip


def up(running: Child) -> set[int]:
    """Start it, and wait for its instructions and its worker; what it has started."""
    running.start()
    wait_until(
        lambda: "Ctrl-C stops it" in running.output()
        and runs("worker", descendants(running.pid)),
        what="make run", seconds=UP_S_MAX, child=running,
    )  # fmt: skip
    return descendants(running.pid)


def pasted(output: str) -> tuple[dict[str, str], list[str]]:
    """The exports and the commands of the lines to paste."""
    exports = dict(re.findall(r"(?m)^    export (\w+)=(.+)$", output))
    commands = re.findall(r"(?m)^    \.venv/bin/(poste .+?)(?: +#.*)?$", output)
    return {name: shlex.split(value)[0] for name, value in exports.items()}, commands


def test_the_lines_of_make_run_do_what_they_say_and_ctrl_c_ends_all(
    running: Child, tmp_path: Path
) -> None:
    """Pasted into a second terminal they send, fetch and acknowledge; then nothing is left (G4).
    Ctrl-C ends the worker in order, the services, and the directory they used."""
    try:
        started = up(running)
        exports, commands = pasted(running.output())
        assert [command.split()[1] for command in commands] == ["send", "fetch", "ack", "fetch"]

        def poste(command: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "worker", *shlex.split(command)[1:]],
                env={**(running.env or {}), **exports},
                capture_output=True, text=True, check=False, timeout=DEADLINE_S,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
            return done.stdout

        send, fetch, ack, again = commands
        poste(send)
        wait_until(lambda: "see you at eight" in poste(fetch), what=fetch, seconds=DEADLINE_S)
        receipt = re.search(r"(?m)^receipt:? +(\S+)", poste(fetch))
        assert receipt is not None, poste(fetch)
        poste(ack.replace("RECEIPT", receipt[1]))
        assert "see you at eight" not in poste(again)

        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to the whole group
        assert running.wait(DEADLINE_S) == 0, running.tail()
        all_gone(started)
        assert "Traceback" not in running.output()
        assert list(tmp_path.glob("poste-restante-*")) == []
    finally:
        running.kill()


def test_an_interrupted_demo_ends_its_children_and_says_one_line(
    running: Child, tmp_path: Path
) -> None:
    """In mid-stream: no traceback, the status that a shell expects, and nothing is left. What
    SIGTERM does is one handler for both, tried on its start and on `make run`."""
    demo = Child([sys.executable, "-m", "benchmarks.demo"], log=tmp_path / "demo.log",
                 env=running.env)  # fmt: skip
    demo.start()
    try:
        wait_until(
            lambda: "two workers, one consumer group" in demo.output(), what="the demo",
            seconds=UP_S_MAX, child=demo,
        )  # fmt: skip
        started = descendants(demo.pid)
        assert runs("worker", started)
        os.killpg(demo.pid, signal.SIGINT)
        assert demo.wait(DEADLINE_S) == 128 + signal.SIGINT, demo.output()
        all_gone(started)
        assert demo.output().splitlines()[-1] == "make demo: interrupted"
        assert "Traceback" not in demo.output()
        assert list(tmp_path.glob("poste-restante-*")) == []
    finally:
        demo.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part is Linux's alone")
def test_kill_9_of_make_run_leaves_nothing_running(running: Child) -> None:
    """Neither the worker nor the services outlive it, though it could stop none of them."""
    try:
        started = up(running)
        assert way() == DOCKER or runs("kafka.Kafka", started)
        running.kill()
        all_gone(started)
    finally:
        running.kill()


def test_sigterm_of_make_run_ends_all(running: Child, tmp_path: Path) -> None:
    """Sent to it alone, as a supervisor does, also while the services are still starting."""
    # In Docker the broker is no child of ours; there it is ended in order, or not yet begun.
    in_docker = way() == DOCKER

    def begun() -> bool:
        # Said once its handlers are there: before that a signal ends it as any Python process.
        said = "starting the services" in running.output()
        return said and (in_docker or runs("kafka.Kafka", descendants(running.pid)))

    try:
        running.start()
        wait_until(begun, what="the start of the broker", seconds=UP_S_MAX, child=running)
        started = descendants(running.pid)
        running.signal(signal.SIGTERM)
        assert running.wait(DEADLINE_S) == 128 + signal.SIGTERM
        all_gone(started)
        assert list(tmp_path.glob("poste-restante-*")) == []
    finally:
        running.kill()
