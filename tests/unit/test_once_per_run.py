"""What the processes of a run share is opened once, and closed behind the last of them."""

import fcntl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from threading import Thread

import pytest

from local.ready import wait_until
from tests.once_per_run import once_per_run


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
def user(tmp_path: Path, opening: Opening) -> Callable[[], AbstractContextManager[int]]:
    """One that asks; a process each, as far as the kernel's locks go."""
    return lambda: once_per_run(tmp_path / "shared", opening)


def locked(path: Path) -> bool:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_the_first_closes_when_the_others_have_left(
    tmp_path: Path, opening: Opening, user: Callable[[], AbstractContextManager[int]]
) -> None:
    """And none that came meanwhile has opened another one."""
    others = ExitStack()
    first = user()
    found = [first.__enter__(), others.enter_context(user()), others.enter_context(user())]
    leaving = Thread(target=first.__exit__, args=(None, None, None))
    leaving.start()
    wait_until(lambda: locked(tmp_path / "shared.lock"), what="it leaves", seconds=60)

    assert found == [1, 1, 1]
    assert (opening.opened, opening.closed) == (1, 0)
    others.close()
    leaving.join(60)
    assert (opening.opened, opening.closed) == (1, 1)


def test_who_comes_behind_the_last_opens_again(
    opening: Opening, user: Callable[[], AbstractContextManager[int]]
) -> None:
    """What is closed is never handed out."""
    with user() as one:
        pass
    with user() as other:
        pass

    assert (one, other) == (1, 2)
    assert opening.closed == 2


def test_a_failed_opening_is_tried_again_by_the_next(
    tmp_path: Path, user: Callable[[], AbstractContextManager[int]]
) -> None:
    """Nobody waits for it."""

    def failing() -> AbstractContextManager[int]:
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"), once_per_run(tmp_path / "shared", failing):
        pass
    with user() as found:
        assert found == 1


def test_what_a_killed_process_has_opened_is_not_handed_out(
    tmp_path: Path, user: Callable[[], AbstractContextManager[int]]
) -> None:
    """What it had started has ended with it."""
    path = tmp_path / "shared"
    opener = f"""
import contextlib, pathlib, sys
from tests.once_per_run import once_per_run
with once_per_run(pathlib.Path({str(path)!r}), lambda: contextlib.nullcontext(99)):
    print("open", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", opener]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        with user() as found:
            assert found == 99
        process.kill()
    with user() as found:
        assert found == 1
