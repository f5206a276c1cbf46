"""Derives the memory limit of each stage from `memory_mb`. Pure, except `cgroup_bytes`, which reads
the kernel's limit.

    base           the interpreter, the libraries and their connections: BASE_BYTES
    spare          a fifth of the rest, for the allocator and the kernel
    fetched        bytes as received from the broker, and a response that is being received
    waiting        records behind batches in work
    in work        records until they are durable, as messages, bundles and calls

A record of n bytes takes more than n: the two functions below say how much, as measured (`make
memory`). What the client library unpacks is beyond these limits: per partition one batch of its
producer, at its full length.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from worker.errors import ConfigurationError

MIB = 1024 * 1024

#: Bytes of a worker with all partitions assigned and nothing to do.
BASE_BYTES = 96 * MIB
#: The smallest `memory_mb` that a worker can keep to, in MiB.
MEMORY_MB_MIN = 128
#: MiB without a setting and a cgroup limit.
MEMORY_MB_DEFAULT = 512

#: More than this makes no flush cheaper, but a drain, and the replay after a crash, longer.
WAITING_BYTES_MAX, IN_WORK_BYTES_MAX = 96 * MIB, 192 * MIB
#: Compressed bytes that one fetch takes of a partition at most (Kafka's own default), and at least.
#: The broker sends the first batch of a response whole, however long.
PARTITION_FETCH_BYTES_MAX, PARTITION_FETCH_BYTES_MIN = MIB, 16 * 1024
#: Bytes of a small batch in work, some 250 records of 250 bytes: a partition may have one however
#: much others have in work.
SMALL_BATCH_BYTES = 768 * 1024


def waiting_bytes(records: int, size: int) -> int:
    """Return the bytes of memory of fetched records. size: bytes of their keys, values and
    headers."""
    return size + 320 * records


def in_work_bytes(records: int, size: int) -> int:
    """Return the bytes of memory of such records until they are durable: the record, its entry, its
    bundle's JSON and the body of its call, in base64 from the entry on."""
    return 26 * size // 5 + 1_700 * records


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """Bytes of memory for each stage, of all partitions together.

    fetched: half is for kept responses. The other half is for the response being received, which
    the client library holds up to three times while it parses it.
    """

    fetched: int
    waiting: int
    in_work: int

    @classmethod
    def of(cls, memory_bytes: int) -> "MemoryLimits":
        """Return the limits of a worker that may take so many bytes in all."""
        left = max(0, memory_bytes - BASE_BYTES) * 4 // 5
        return cls(
            fetched=left * 30 // 100,
            waiting=min(left * 25 // 100, WAITING_BYTES_MAX),
            in_work=min(left * 45 // 100, IN_WORK_BYTES_MAX),
        )

    @classmethod
    def default(cls) -> "MemoryLimits":
        """Return the limits for `MEMORY_MB_DEFAULT`."""
        return cls.of(MEMORY_MB_DEFAULT * MIB)

    @property
    def response_bytes(self) -> int:
        """Bytes of one response of a broker."""
        return max(PARTITION_FETCH_BYTES_MIN, self.fetched // 8)

    def partition_fetch_bytes(self, partitions: int) -> int:
        """Return the bytes that a response takes of each partition: all of them are prefetched."""
        share = self.fetched // 2 // max(1, partitions)
        return min(max(share, PARTITION_FETCH_BYTES_MIN), PARTITION_FETCH_BYTES_MAX)

    def small_batch(self, partitions: int) -> int:
        """Return the bytes of the batch in work that each of so many partitions may always have.
        Together they are at most half of the limit."""
        return min(SMALL_BATCH_BYTES, self.in_work // 2 // max(1, partitions))


def effective_mb(setting_mb: int, allowed_bytes: int | None) -> int:
    """Return `memory_mb` in force, in MiB. setting_mb: 0 if it is not set. allowed_bytes: the
    cgroup's limit; None: there is none."""
    if setting_mb:
        return setting_mb
    return MEMORY_MB_DEFAULT if allowed_bytes is None else allowed_bytes // MIB


def worker_limits(setting_mb: int, allowed_bytes: int | None) -> MemoryLimits:
    """Return the limits of a worker. Raises ConfigurationError for too little memory, or for more
    than the cgroup allows."""
    memory_mb = effective_mb(setting_mb, allowed_bytes)
    allowed_mb = None if allowed_bytes is None else allowed_bytes // MIB
    if memory_mb < MEMORY_MB_MIN:
        whose = "memory_mb is" if setting_mb else "the cgroup allows"
        raise ConfigurationError(
            f"{whose} {memory_mb} MiB, and a worker needs {MEMORY_MB_MIN}: give it more memory"
        )
    if allowed_mb is not None and memory_mb > allowed_mb:
        raise ConfigurationError(
            f"memory_mb is {memory_mb}, and the cgroup allows {allowed_mb} MiB: set it to at most"
            " that, or to 0 to follow the cgroup"
        )
    return MemoryLimits.of(memory_mb * MIB)


def cgroup_bytes(proc: Path = Path("/proc"), mount: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the memory that this process's cgroup and its parents allow; None: no limit.

    Both versions, as the kernel documents them: admin-guide/cgroup-v2 and cgroup-v1/memory.
    """
    limits = []
    for directory, name in _cgroups(proc, mount):
        with suppress(OSError, ValueError):  # missing, or "max"
            limits.append(int((directory / name).read_text()))
    found = min(limits, default=_UNLIMITED)
    return None if found >= _UNLIMITED else found


#: Version 1 reports the largest multiple of a page for no limit; no machine has this much.
_UNLIMITED = 1 << 60


def _cgroups(proc: Path, mount: Path) -> Iterator[tuple[Path, str]]:
    """Yield directory and file of each limit, from this process's cgroup upwards."""
    with suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if number == "0":
                root, name = mount, "memory.max"
            elif "memory" in controllers.split(","):
                root, name = mount / "memory", "memory.limit_in_bytes"
            else:
                continue
            # In a container the path may be the host's and the mount the container's own. Missing
            # directories are skipped, and the mount itself is read.
            below = Path(path.lstrip("/"))
            for part in (below, *below.parents):
                yield root / part, name
