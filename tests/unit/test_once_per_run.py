"""What the processes of a run share is opened once, and closed behind the last of them."""

import fcntl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Thread

import pytest

from local.ready import wait_until
from tests.once_per_run import OncePerRun


class Opening:
    """Counts; each opened one is a number."""

    def __init__(self) -> None:
        self.opened = self.closed = 0

    @contextmanager
    def __call__(self) -> Iterator[int]:
        self.opened += 1
        yield self.opened
        self.closed += 1


@pytest.fixture
def opening() -> Opening:
    return Opening()


@pytest.fixture
def process(tmp_path: Path) -> Callable[[], OncePerRun]:
    """One of the run; a process each, as far as the kernel's locks go."""
    return lambda: OncePerRun(tmp_path)


def locked(path: Path) -> bool:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def leaves(process: OncePerRun) -> Thread:
    """It ends, and may wait for others."""
    thread = Thread(target=process.__exit__, args=(None, None, None), daemon=True)
    thread.start()
    return thread


def test_the_first_closes_when_the_others_have_left(
    tmp_path: Path, opening: Opening, process: Callable[[], OncePerRun]
) -> None:
    """And none that came meanwhile has opened another one."""
    first, *others = [process() for _ in range(3)]
    found = [each.use("shared", opening) for each in (first, *others)]
    leaving = leaves(first)
    wait_until(lambda: locked(tmp_path / "shared.lock"), what="it leaves", seconds=60)

    assert found == [1, 1, 1]
    assert (opening.opened, opening.closed) == (1, 0)
    for other in others:
        other.__exit__(None, None, None)
    leaving.join(60)
    assert (opening.opened, opening.closed) == (1, 1)


def test_who_comes_behind_the_last_opens_again(
    opening: Opening, process: Callable[[], OncePerRun]
) -> None:
    """What is closed is never handed out."""
    with process() as one:
        found = [one.use("shared", opening)]
    with process() as other:
        found.append(other.use("shared", opening))

    assert found == [1, 2]
    assert opening.closed == 2


def test_a_failed_opening_is_tried_again_by_the_next(
    opening: Opening, process: Callable[[], OncePerRun]
) -> None:
    """Nobody waits for it."""

    def failing() -> AbstractContextManager[int]:
        raise RuntimeError("no room")

    with process() as one, process() as other:
        with pytest.raises(RuntimeError, match="no room"):
            one.use("shared", failing)
        assert other.use("shared", opening) == 1


def test_processes_that_end_do_not_wait_for_each_other(
    tmp_path: Path, opening: Opening, process: Callable[[], OncePerRun]
) -> None:
    """Two that end, each of which has opened what the next one uses, and a third that comes to
    what one of them closes."""
    first, second, third = process(), process(), process()
    second.use("kafka", opening)
    first.use("kafka", opening)
    first.use("store", opening)
    third.use("store", opening)
    closing = leaves(second)
    wait_until(lambda: locked(tmp_path / "kafka.lock"), what="the second ends", seconds=60)
    coming = Thread(target=third.use, args=("kafka", opening), daemon=True)
    coming.start()
    ending = leaves(first)

    closing.join(60)
    coming.join(60)
    assert not closing.is_alive()
    assert not coming.is_alive()
    third.__exit__(None, None, None)
    ending.join(60)
    assert opening.opened == opening.closed == 3


def test_what_a_killed_process_has_opened_is_not_handed_out(
    tmp_path: Path, opening: Opening, process: Callable[[], OncePerRun]
) -> None:
    """What it had started has ended with it."""
    opener = f"""
import contextlib, pathlib, sys
from tests.once_per_run import OncePerRun
with OncePerRun(pathlib.Path({str(tmp_path)!r})) as process:
    process.use("shared", lambda: contextlib.nullcontext(99))
    print("open", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", opener]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"open\n"
        with process() as other:
            assert other.use("shared", opening) == 99
        killed.kill()
    with process() as other:
        assert other.use("shared", opening) == 1
