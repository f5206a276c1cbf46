"""Programs that some tests need, and that a user need not have."""

import os
import shutil

import pytest

#: Set where everything is there: a skipped test has failed.
STRICT = "TESTS_SKIP_NOTHING"


def need(*programs: str) -> None:
    """Skip the test where one of these programs is missing."""
    if missing := [program for program in programs if shutil.which(program) is None]:
        pytest.skip(f"needs {' and '.join(missing)}")


def fail_if_skipped(report: pytest.TestReport) -> None:
    """Where `STRICT` is set, a skipped test has failed, for the reason that it was skipped for."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(STRICT):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}, and {STRICT} is set"
