"""What a process holds and has used, of Linux's /proc: our own, or a child of our user."""

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory now: VmRSS of proc(5)."""
    return _status_mb(pid, "VmRSS:")


def resident_mb_peak(pid: int) -> float:
    """The most resident memory so far: VmHWM of proc(5)."""
    return _status_mb(pid, "VmHWM:")


def _status_mb(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has ended, or this is not Linux")


def cpu_s(pid: int) -> float:
    """User and system time so far: fields 14 and 15 of proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def memory_maps(pid: int) -> int:
    """Each index of a Kafka segment is one, and `vm.max_map_count` limits them."""
    return Path(f"/proc/{pid}/maps").read_text().count("\n")
