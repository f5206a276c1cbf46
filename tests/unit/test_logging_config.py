"""What the worker's log shows, and what it leaves out."""

import json
import logging
import time
from collections.abc import Iterator

import pytest
from aiokafka import errors

from worker.errors import OperatorError, TableReplaced
from worker.logging_config import (
    PASSING_ERRORS,
    REPEAT_S,
    Demoted,
    JsonLines,
    OneLine,
    TextLines,
    Unrepeated,
    event,
    operator_error,
)


def line(error: BaseException | None = None, text: str = "crashed") -> logging.LogRecord:
    info = None if error is None else (type(error), error, None)
    return logging.LogRecord("faust", logging.ERROR, __file__, 1, text, (), info)


def test_an_operators_error_is_one_line_wherever_it_is_wrapped() -> None:
    """Groups and causes are looked through; the traceback is left out."""
    wanted = TableReplaced("the table was replaced")
    group = BaseExceptionGroup("unhandled", [ValueError("x"), wanted])
    cause = RuntimeError("agent")
    cause.__cause__ = group
    record = line(cause)
    OneLine().filter(record)

    assert record.getMessage() == "the table was replaced"
    assert record.exc_info is None


def test_any_other_error_keeps_its_traceback() -> None:
    """What nobody foresaw is shown whole."""
    record = line(ValueError("x"))
    OneLine().filter(record)

    assert record.exc_info is not None
    assert record.getMessage() == "crashed"
    assert operator_error(None) is None


def test_the_noise_of_a_shutdown_after_a_crash_is_left_out() -> None:
    """mode stops a thread whose loop is closed; that says nothing about why the worker ended."""
    assert not OneLine().filter(line(RuntimeError("Event loop is closed")))
    assert OneLine().filter(line(RuntimeError("anything else")))


def test_a_cause_that_is_itself_does_not_hang() -> None:
    """mode raises `crash_reason from crash_reason`."""
    error = OperatorError("mend it")
    error.__cause__ = error

    assert operator_error(error) is error

    other = ValueError("x")
    other.__cause__ = other
    assert operator_error(other) is None


def test_a_clients_message_passes_once_in_a_while() -> None:
    """aiokafka logs dozens of errors a second while the broker is away (G8)."""
    now = [0.0]
    unrepeated = Unrepeated(clock=lambda: now[0])

    assert unrepeated.filter(line(text="away"))
    assert not unrepeated.filter(line(text="away"))
    assert unrepeated.filter(line(text="another"))
    now[0] = REPEAT_S
    assert unrepeated.filter(line(text="away"))


def _of_aiokafka(text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("aiokafka", logging.ERROR, __file__, 1, text, args, None)


@pytest.mark.parametrize("name", sorted(PASSING_ERRORS))
def test_what_passes_by_itself_is_no_error(name: str) -> None:
    """aiokafka's names, as an error and as its class; shown at INFO, where INFO is shown."""
    kind = getattr(errors, name)
    assert kind.__name__ == name
    assert kind.retriable or kind is errors.RebalanceInProgressError
    for argument in (kind(), kind):
        record = _of_aiokafka("Group Coordinator Request failed: %s", argument)
        assert Demoted("INFO").filter(record)
        assert (record.levelno, record.levelname) == (logging.INFO, "INFO")
        assert not Demoted("WARNING").filter(_of_aiokafka("failed: %s", argument))


def test_any_other_error_of_a_client_stays_one() -> None:
    """A broker that refuses, or that is away, passes with somebody's help."""
    for kind in (errors.GroupAuthorizationFailedError, errors.KafkaConnectionError):
        record = _of_aiokafka("failed: %s", kind())
        assert Demoted("WARNING").filter(record)
        assert record.levelname == "ERROR"
    without = _of_aiokafka("Heartbeat session expired - marking coordinator dead")
    assert Demoted("WARNING").filter(without)
    assert without.levelname == "ERROR"


def test_json_lines_are_json() -> None:
    """One object a line, the exception within it."""
    try:
        raise ValueError("x")
    except ValueError as error:
        record = line(error)
        record.exc_info = (ValueError, error, error.__traceback__)
    shown = json.loads(JsonLines().format(record))

    assert (shown["level"], shown["logger"], shown["message"]) == ("ERROR", "faust", "crashed")
    assert "ValueError: x" in shown["exception"]


def test_json_lines_carry_an_events_name_and_fields_beside_the_sentence() -> None:
    """A program need not read sentences."""
    record = logging.makeLogRecord(
        {"msg": "partition %d: reading", "args": (3,), **event("partition_opened", partition=3)}
    )
    shown = json.loads(JsonLines().format(record))

    assert (shown["event"], shown["partition"]) == ("partition_opened", 3)
    assert shown["message"] == "partition 3: reading"


@pytest.fixture
def kolkata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose zone is 5 h 30 min ahead of UTC."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("kolkata")
def test_times_have_a_zone() -> None:
    """A line can be laid beside another machine's: text in the machine's zone with its offset,
    JSON in UTC."""
    record = line(text="said")
    record.created = 1_769_817_600.25

    assert TextLines().format(record) == "2026-01-31T05:30:00.250+05:30 ERROR faust: said"
    assert json.loads(JsonLines().format(record))["time"] == "2026-01-31T00:00:00.250Z"


def test_an_operators_error_is_an_event() -> None:
    """Programs find the line that ended a worker by its name."""
    record = line(TableReplaced("the table was replaced"))
    OneLine().filter(record)
    shown = json.loads(JsonLines().format(record))

    assert (shown["event"], shown["error"]) == ("worker_failed", "TableReplaced")
    assert shown["message"] == "the table was replaced"

    unforeseen = line(ValueError("x"))
    OneLine().filter(unforeseen)
    assert vars(unforeseen)["fields"] == {"error": "ValueError"}
    assert unforeseen.exc_info is not None
