"""A limit on a process's memory, as a container has it: a cgroup of the kernel, version 2 or 1.

Needs the right to make one, which root has. Documentation of the kernel: admin-guide/cgroup-v2,
admin-guide/cgroup-v1/memory.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

#: Seconds that the kernel may take to let go of an ended process.
_EMPTY_S_MAX = 10.0
#: The files of a limit, of swap beside it, of the peak, and of how often it was reached fatally.
_FILES_V2 = ("memory.max", "memory.swap.max", "memory.peak", "memory.events")
_FILES_V1 = (
    "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max_usage_in_bytes",
    "memory.oom_control",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One that limits memory. Ends with the block of `limited`."""

    directory: Path
    files: Sequence[str]

    def command(self, command: Sequence[str]) -> list[str]:
        """The command, begun within."""
        enter = f'echo $$ > {self.directory}/cgroup.procs && exec "$@"'
        return ["sh", "-c", enter, "sh", *command]

    def peak_mb(self) -> float | None:
        """The most memory so far, the cache of files that counts included. None: not told."""
        with suppress(OSError):
            return int((self.directory / self.files[2]).read_text()) / 1024**2
        return None

    def killed(self) -> int:
        """How many processes the kernel has killed for the limit."""
        for line in (self.directory / self.files[3]).read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
        return 0


@contextmanager
def limited(memory_mb: int) -> Iterator[Cgroup]:
    """A cgroup with this limit, and no swap. Raises RuntimeError, saying why, where none can be
    made."""
    directory, files = _place()
    cgroup = Cgroup(directory, files)
    try:
        directory.mkdir()
        limit = str(memory_mb * 1024**2)
        (directory / files[0]).write_text(limit)
        with suppress(OSError):  # no swap is accounted for
            (directory / files[1]).write_text("0" if files is _FILES_V2 else limit)
    except OSError as error:
        _remove(directory)
        raise RuntimeError(f"no cgroup can be made: {error}") from None
    try:
        yield cgroup
    finally:
        _remove(directory)


def _place() -> tuple[Path, Sequence[str]]:
    """Beside nobody: below the cgroup of this process."""
    name = f"poste-{os.getpid()}-{time.monotonic_ns()}"
    own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    for _, controllers, path in own:
        if "memory" in controllers.split(","):
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/") / name, _FILES_V1
    (path,) = [path for number, _, path in own if number == "0"]
    return Path("/sys/fs/cgroup") / path.lstrip("/") / name, _FILES_V2


def _remove(directory: Path) -> None:
    """As soon as its last process is gone."""
    deadline_s = time.monotonic() + _EMPTY_S_MAX
    while directory.exists() and time.monotonic() < deadline_s:
        with suppress(OSError):
            directory.rmdir()
            return
        time.sleep(0.1)
