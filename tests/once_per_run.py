"""What the processes of one test run share: the first one that asks opens it, for all of them."""

import fcntl
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def once_per_run(path: Path, opening: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
    """What `opening` opens, in this process or in another one of the run.

    path: of the run, and of no other one. The process that has opened closes when the others have
    left; one that was killed has left, since the kernel gives its locks back. What is opened can be
    pickled, and what another process gets is a copy.
    """
    with path.with_suffix(".lock").open("w") as lock, path.with_suffix(".users").open("w") as users:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # somebody is there
            fcntl.flock(users, fcntl.LOCK_SH)
            found: T = pickle.loads(path.read_bytes())
            fcntl.flock(lock, fcntl.LOCK_UN)
            yield found
            return
        with opening() as opened:
            path.write_bytes(pickle.dumps(opened))
            fcntl.flock(users, fcntl.LOCK_SH)
            fcntl.flock(lock, fcntl.LOCK_UN)
            try:
                yield opened
            finally:
                fcntl.flock(lock, fcntl.LOCK_EX)  # newcomers wait, and open their own
                fcntl.flock(users, fcntl.LOCK_EX)
