"""What a worker may take of memory: the number, and what follows from it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import ConfigurationError
from worker.memory_limits import (
    BASE_BYTES,
    MEMORY_MB_DEFAULT,
    MEMORY_MB_MIN,
    MIB,
    PARTITION_FETCH_BYTES_MAX,
    PARTITION_FETCH_BYTES_MIN,
    MemoryLimits,
    cgroup_bytes,
    effective_mb,
    worker_limits,
)


@given(st.integers(MEMORY_MB_MIN, 1024 * 1024), st.integers(1, 10_000))
def test_the_stages_together_stay_below_the_number(memory_mb: int, partitions: int) -> None:
    """With what a worker takes without a record; and each stage has room for something (G8)."""
    limits = MemoryLimits.of(memory_mb * MIB)
    fetch = limits.partition_fetch_bytes(partitions)

    assert BASE_BYTES + limits.fetched + limits.waiting + limits.in_work < memory_mb * MIB
    assert min(limits.fetched, limits.waiting, limits.in_work) > 4 * MIB
    assert PARTITION_FETCH_BYTES_MIN <= fetch <= PARTITION_FETCH_BYTES_MAX
    assert fetch == PARTITION_FETCH_BYTES_MIN or fetch * partitions <= limits.fetched // 2
    assert limits.small_batch(partitions) * partitions <= limits.in_work // 2


@given(st.integers(MEMORY_MB_MIN, 4096), st.integers(1, 512))
def test_more_memory_never_means_less(memory_mb: int, more_mb: int) -> None:
    """Of any stage."""
    less, more = MemoryLimits.of(memory_mb * MIB), MemoryLimits.of((memory_mb + more_mb) * MIB)

    assert less.fetched <= more.fetched
    assert less.waiting <= more.waiting
    assert less.in_work <= more.in_work


def test_a_worker_of_too_little_memory_is_refused() -> None:
    """In one line that says whose the number is, with the status of a configuration."""
    with pytest.raises(ConfigurationError, match="memory_mb is 64 MiB, and a worker needs 128"):
        worker_limits(64, None)
    with pytest.raises(ConfigurationError, match="the cgroup allows 100 MiB, and a worker needs"):
        worker_limits(0, 100 * MIB)
    with pytest.raises(ConfigurationError, match="memory_mb is 512, and the cgroup allows 256 MiB"):
        worker_limits(512, 256 * MIB)
    assert ConfigurationError("").exit_status == 2
    assert worker_limits(0, 256 * MIB) == worker_limits(256, 512 * MIB)


def test_the_number_is_the_setting_or_the_cgroups_or_the_default() -> None:
    """In this order."""
    assert effective_mb(300, 200 * MIB) == 300
    assert effective_mb(0, 200 * MIB + 1) == 200
    assert effective_mb(0, None) == MEMORY_MB_DEFAULT


def _files(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


@pytest.mark.parametrize(
    ("cgroup", "files", "allowed"),
    [
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "300", "memory.max": "900"}, 300),
        ("0::/a/b", {"a/b/memory.max": "max"}, None),
        ("0::/", {"memory.max": "500"}, 500),  # a container with a namespace of its own
        ("0::/of/the/host", {"memory.max": "400"}, 400),
        (
            "5:cpu:/a\n4:memory:/a\n0::/",
            {"memory/a/memory.limit_in_bytes": "200", "memory/memory.limit_in_bytes": "900"},
            200,
        ),
        ("4:memory:/of/the/host", {"memory/memory.limit_in_bytes": "600"}, 600),
        ("4:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("0::/", {}, None),
    ],
)
def test_what_the_cgroup_allows_is_the_least_of_it_and_those_above(
    tmp_path: Path, cgroup: str, files: dict[str, str], allowed: int | None
) -> None:
    """Of both versions, within a container and outside."""
    _files(tmp_path / "proc", {"self/cgroup": cgroup})
    _files(tmp_path / "mount", files)

    assert cgroup_bytes(tmp_path / "proc", tmp_path / "mount") == allowed


def test_a_system_without_cgroups_has_no_limit(tmp_path: Path) -> None:
    """macOS, say."""
    assert cgroup_bytes(tmp_path / "proc", tmp_path) is None
