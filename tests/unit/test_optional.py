"""A skip says what is missing, and is a failure where nothing may be missing."""

import pytest

from tests.optional import STRICT, fail_if_skipped, need


def report_of_a_skip() -> pytest.TestReport:
    return pytest.TestReport(
        "test", ("test.py", 1, "test"), {}, "skipped", ("test.py", 1, "Skipped: needs go"), "call"
    )


def test_a_missing_program_is_a_skip_that_names_it() -> None:
    """And one that is there is none."""
    need("sh")
    with pytest.raises(pytest.skip.Exception, match="needs no-such-program"):
        need("sh", "no-such-program")


def test_a_skip_fails_where_nothing_may_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that is skipped for want of a program would look green."""
    monkeypatch.setenv(STRICT, "1")
    report = report_of_a_skip()
    fail_if_skipped(report)

    assert report.failed
    assert "needs go" in str(report.longrepr)


def test_a_skip_stays_one_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user need not have every program."""
    monkeypatch.delenv(STRICT, raising=False)
    report = report_of_a_skip()
    fail_if_skipped(report)

    assert report.skipped
