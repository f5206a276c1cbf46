"""`make example`, as a user meets it."""

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from local import Services
from local.child import Child
from local.choose import FORCED
from local.example import PORT
from local.ready import free_ports, wait_until
from tests.health import ask_health

#: Seconds until a condition must hold, on a busy machine.
DEADLINE_S = 90.0


@pytest.fixture
def example(services: Services, tmp_path: Path, unique: str) -> Iterator[Child]:
    """It runs on the shared services, in names of its own."""
    (port,) = free_ports(1)
    child = Child(
        [sys.executable, "-m", "local.example"], log=tmp_path / "log",
        env={
            **os.environ, **services.environment, FORCED: "", PORT: str(port),
            "POSTE_KAFKA__TOPIC": f"undelivered-{unique}", "POSTE_KAFKA__GROUP": f"group-{unique}",
            "POSTE_DYNAMODB__TABLE": f"mailboxes-{unique}", "TMPDIR": str(tmp_path),
        },
    )  # fmt: skip
    yield child
    child.kill()


def until_said(example: Child, text: str) -> None:
    wait_until(
        lambda: text in example.output(), what=f"{text!r}", seconds=DEADLINE_S, child=example
    )


async def test_the_example_starts_again_what_was_killed_and_ctrl_c_ends_all(
    example: Child,
) -> None:
    """By the lines that it prints."""
    example.start()
    until_said(example, "Ctrl-C stops")
    found = re.search(r"http://127\.0\.0\.1:\d+/", example.output())
    assert found is not None
    url = found[0]
    pids = [int(pid) for pid in re.findall(r"kill -9 (\d+)", example.output())]
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200
        assert "script" in await answer.text()
        assert "'unsafe-inline'" in answer.headers["Content-Security-Policy"]
    status, panel = await ask_health(f"{url}panel")
    assert (status, panel["users"], panel["pushes"]) == (200, {}, 0)
    assert len(pids) == 2

    os.kill(pids[1], signal.SIGKILL)
    until_said(example, "the gateway was killed, and is started again")
    (again,) = re.findall(r"started again: (\d+)", example.output())
    wait_until(lambda: answers(url), what="the next one", seconds=DEADLINE_S, child=example)

    example.signal(signal.SIGINT)
    assert example.wait(DEADLINE_S) == 128 + signal.SIGINT, example.output()
    assert "Traceback" not in example.output()
    assert await ask_health(f"{url}panel") == (0, None)
    for pid in (*pids, int(again)):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def answers(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2].strip("/")))) == 0
