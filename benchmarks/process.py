"""Processor time and peak memory of a process, from Linux's /proc.

Own code and not psutil: psutil does not report the peak of the resident memory on Linux.
"""

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def resident_mb_peak(pid: int) -> float:
    """The most resident memory so far: VmHWM of proc(5). Raises RuntimeError where it has ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has ended, or this is not Linux")


def cpu_s(pid: int) -> float:
    """User and system time so far, in seconds: fields 14 and 15 of proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
