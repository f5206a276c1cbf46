"""deploy/systemd: what systemd itself says of the unit, and what it promises the worker.

Needs `systemd-analyze` (Debian's package systemd), which needs no running systemd.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.optional import need
from tests.pages import ROOT
from worker.config_file import load_settings
from worker.memory_limits import MEMORY_MB_MIN, effective_mb, worker_limits

UNIT = ROOT / "deploy" / "systemd" / "poste-worker@.service"
TEXT = UNIT.read_text()
#: Of 10, by `systemd-analyze security`; what is left is the network, which a worker needs.
EXPOSURE_MAX = 1.5


def settings(name: str) -> list[str]:
    """The values of a setting of the unit, in order."""
    return re.findall(rf"(?m)^{name}=(.*)$", TEXT)


def environment(instance: str, text: str = TEXT) -> dict[str, str]:
    lines = re.findall(r"(?m)^Environment=(.*)$", text)
    pairs = [pair.partition("=") for line in lines for pair in line.split()]
    return {name: value.replace("%i", instance) for name, _, value in pairs}


def analyze(directory: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze on a unit. The command of the unit need not be installed here."""
    need("systemd-analyze")
    path = directory / UNIT.name
    path.write_text(text.replace("/opt/poste/bin/poste", sys.executable))
    return subprocess.run(
        ["systemd-analyze", *arguments, path], cwd=directory,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    done = analyze(tmp_path, TEXT, "verify")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("line", ["ProtectSytem=strict", "RestartSec=soon", "SystemCallFilter=@x"])
def test_a_line_that_systemd_does_not_understand_is_noticed(tmp_path: Path, line: str) -> None:
    """Else the test above would show nothing."""
    text = TEXT.replace("UMask=0077", line)
    assert analyze(tmp_path, text, "verify").stderr != ""


def test_little_is_exposed(tmp_path: Path) -> None:
    threshold = f"--threshold={EXPOSURE_MAX * 10:.0f}"
    done = analyze(tmp_path, TEXT, "security", "--offline=true", threshold)
    assert done.returncode == 0, done.stdout
    weaker = TEXT.replace("ProtectSystem=strict\n", "").replace("NoNewPrivileges=yes\n", "")
    assert analyze(tmp_path, weaker, "security", "--offline=true", threshold).returncode != 0


def test_a_worker_may_drain_before_it_is_killed() -> None:
    """The time to stop covers the drain limit and leaving after it (G1, G8)."""
    defaults = load_settings(None, {})
    assert float(*settings("TimeoutStopSec")) > defaults.drain_s + defaults.leave_s
    assert settings("KillMode") == ["mixed"]  # SIGTERM to the worker, which is alone


def test_it_is_restarted_for_ever_except_where_no_restart_helps() -> None:
    assert settings("Restart") == ["on-failure"]
    assert settings("RestartPreventExitStatus") == ["2"]
    assert settings("StartLimitIntervalSec") == ["0"]


def test_the_environment_is_a_configuration() -> None:
    """Two instances on one host have two ports, and two ids where they are static members."""
    uncommented = TEXT.replace("# Environment=", "Environment=")
    first, second = (load_settings(None, environment(n, uncommented)) for n in ("6066", "6067"))

    assert (first.http.port, second.http.port) == (6066, 6067)
    assert first.kafka.instance_id != second.kafka.instance_id
    assert load_settings(None, environment("6066")) == load_settings(None, {})
    (command,) = settings("ExecStart")
    assert command == "/opt/poste/bin/poste --config /etc/poste/poste.toml worker"


def test_the_memory_limit_is_enough_for_a_worker() -> None:
    (limit,) = settings("MemoryMax")
    assert limit.endswith("M")
    mb = int(limit[:-1])
    assert effective_mb(0, mb * 1024 * 1024) == mb >= MEMORY_MB_MIN
    worker_limits(0, mb * 1024 * 1024)
