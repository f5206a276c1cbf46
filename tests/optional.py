"""Programs that some tests need, and that a user need not have."""

import os
import shutil

import pytest

#: Set where everything is there, and nothing may be skipped for want of it.
STRICT = "TESTS_NEED_EVERYTHING"


def need(*programs: str) -> None:
    """Skip the test where one of these programs is missing; fail it where `STRICT` is set."""
    if missing := [program for program in programs if shutil.which(program) is None]:
        without(f"needs {' and '.join(missing)}")


def without(reason: str) -> None:
    """Skip the test for a reason, or fail it where `STRICT` is set."""
    if os.environ.get(STRICT):
        pytest.fail(f"{reason}, and {STRICT} is set")
    pytest.skip(reason)
