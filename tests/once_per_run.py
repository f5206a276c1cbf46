"""What the processes of one test run share: the first one that asks opens it, for all of them."""

import fcntl
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO, Self, TypeVar

T = TypeVar("T")


class OncePerRun:
    """What this process uses together with the others of the run. A context manager.

    directory: of the run, and of no other one. A process that ends first leaves what others have
    opened, and only then waits until they have left what it has opened: so none waits for one that
    waits for it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._used = ExitStack()
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._opened:
            self._used.close()

    def use(self, name: str, opening: Callable[[], AbstractContextManager[T]]) -> T:
        """What `opening` opens, in this process or in another one of the run.

        The process that has opened closes when the others have left; one that was killed has left,
        since the kernel gives its locks back. What is opened can be pickled, and what another
        process gets is a copy.
        """
        path = self._directory / name
        with ExitStack() as holding:
            lock = holding.enter_context(path.with_suffix(".lock").open("w"))
            users = holding.enter_context(path.with_suffix(".users").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # somebody is there
                fcntl.flock(users, fcntl.LOCK_SH)
                found: T = pickle.loads(path.read_bytes())
                fcntl.flock(lock, fcntl.LOCK_UN)
                self._used.enter_context(holding.pop_all())
                return found
            opened = holding.enter_context(opening())
            path.write_bytes(pickle.dumps(opened))
            fcntl.flock(users, fcntl.LOCK_SH)
            fcntl.flock(lock, fcntl.LOCK_UN)
            holding.callback(_wait_for_the_others, lock, users)
            self._opened.enter_context(holding.pop_all())
            return opened


def _wait_for_the_others(lock: IO[str], users: IO[str]) -> None:
    fcntl.flock(lock, fcntl.LOCK_EX)  # newcomers wait, and open their own
    fcntl.flock(users, fcntl.LOCK_EX)
