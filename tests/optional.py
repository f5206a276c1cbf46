"""Programs and packages that some tests need, and that a user need not have."""

import os
import shutil
from pathlib import Path

import pytest

#: Where `make` puts tools that it builds, and the schemas of Kubernetes.
_TOOLS = Path(__file__).parent.parent / ".cache" / "bin"
_SCHEMAS = _TOOLS.parent / "schemas"

#: Set where everything is there: a skipped test has failed.
STRICT = "TESTS_SKIP_NOTHING"


def need(*programs: str) -> None:
    """Skip the test where one of these programs is missing."""
    if missing := [program for program in programs if shutil.which(program) is None]:
        pytest.skip(f"needs {' and '.join(missing)}")


def built(program: str) -> str:
    """Return the path of a tool that `make .cache/bin/...` builds, or the machine's own. Skip the
    test where neither is there."""
    found = shutil.which(program, path=f"{_TOOLS}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        pytest.skip(f"needs {program}: make .cache/bin/{program}")
    return found


def schemas() -> Path:
    """Return the folder of packages with the schemas of Kubernetes. Skip the test without it."""
    if not (_SCHEMAS / "installed").exists():
        pytest.skip("needs the schemas of Kubernetes: make .cache/schemas/installed")
    return _SCHEMAS


def fail_if_skipped(report: pytest.TestReport) -> None:
    """Where `STRICT` is set, a skipped test has failed, for the reason that it was skipped for."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(STRICT):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}, and {STRICT} is set"
