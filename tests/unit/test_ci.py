"""`.ci/run`, with a `make` of the test's own, and with every program that it would install."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "run"
#: What the script looks for. Were one missing here it would install it, in the middle of the tests.
PROGRAMS = set(re.findall(r" ([a-z-]+):[a-z]", SCRIPT.read_text()))
CLOSING = "==== 3 passed, 1 skipped in 1.50s ===="


@pytest.mark.parametrize(
    ("make", "limit", "status", "ends"),
    [
        (
            f"echo 'SKIPPED [1] tests/x.py:1: why'; echo '{CLOSING}'; echo later",
            "60s",
            0,
            ["SKIPPED [1] tests/x.py:1: why", CLOSING],
        ),
        ("echo '1 failed, 3 passed in 2.00s'; exit 2", "60s", 2, ["1 failed, 3 passed in 2.00s"]),
        (
            "echo ...; exit 137",
            "60s",
            137,
            [".ci/run: make test ended with status 137 before pytest's closing line"],
        ),
        (
            "trap \"echo '2 passed in 1.00s'; exit 2\" INT; while :; do sleep 0.1; done",
            "3s",
            124,
            [".ci/run: make test was interrupted after 3s", "2 passed in 1.00s"],
        ),
    ],
)
def test_the_last_line_says_how_it_ended(
    tmp_path: Path, make: str, limit: str, status: int, ends: list[str]
) -> None:
    """Pytest's closing line, or that there was none; the status is that of `make test`."""
    assert {"make", "java", "promtool", "chromium"} <= PROGRAMS
    make = f'[ "$1" = test ] || exit 0\n{make}'
    for name, script in {**dict.fromkeys(PROGRAMS, ""), "make": make}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["bash", SCRIPT], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CI_LIMIT": limit},
        check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == status, done.stdout + done.stderr
    assert done.stdout.splitlines()[-len(ends) :] == ends
