"""Configures logging: one line for what an operator must fix, no floods.

While a broker is away aiokafka logs about 76 errors a second; the same message of one logger passes
at most once in `REPEAT_S`. A condition that ends by itself is not logged as ERROR.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from worker.errors import OperatorError

#: Seconds in which one message (by its text before formatting) of a client library passes once.
REPEAT_S = 10.0
#: Seconds between two lines about a lasting condition, such as a wait for a service.
LASTING_S = 30.0
#: Distinct messages remembered for that; the oldest is dropped first.
REMEMBERED_MAX = 256

#: Broker errors that a start, a rebalance or a new coordinator causes and that the client library
#: retries; by name, so that no command has to import it. aiokafka logs them as ERROR
#: (aiokafka/consumer/group_coordinator.py), among others on every first start of a group.
PASSING_ERRORS = frozenset({
    "GroupCoordinatorNotAvailableError", "GroupLoadInProgressError", "LeaderNotAvailableError",
    "NotCoordinatorForGroupError", "RebalanceInProgressError",
})  # fmt: skip

#: For what mode's services log about themselves: starting, stopping.
SERVICES_LOGGER = logging.getLogger("mode.poste")

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Unrepeated(logging.Filter):
    """Passes a message of a logger once in `REPEAT_S` seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._passed_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key, now = (record.name, str(record.msg)), self._clock()
        if now - self._passed_at.get(key, -REPEAT_S) < REPEAT_S:
            return False
        self._passed_at.pop(key, None)
        self._passed_at[key] = now
        if len(self._passed_at) > REMEMBERED_MAX:
            del self._passed_at[next(iter(self._passed_at))]
        return True


class Demoted(logging.Filter):
    """Changes a client library's ERROR about a passing condition (PASSING_ERRORS) to INFO.

    level: name of the lowest level shown; demoted lines below it are dropped.
    """

    def __init__(self, level: str) -> None:
        super().__init__()
        self._level = logging.getLevelNamesMapping()[level]

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.INFO or not _is_passing(record):
            return True
        record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return record.levelno >= self._level


def _is_passing(record: logging.LogRecord) -> bool:
    """Return whether a line is about such an error: one of its arguments is one, or its class."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    kinds = (each if isinstance(each, type) else type(each) for each in arguments)
    return any(kind.__name__ in PASSING_ERRORS for kind in kinds)


class LogLimiter:
    """Limits lines about a lasting condition to two a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_s: float | None = None

    def is_due(self) -> bool:
        """Return whether to log; if so, the next line is due after `LASTING_S` seconds."""
        now_s = self._clock()
        if self._last_s is not None and now_s - self._last_s < LASTING_S:
            return False
        self._last_s = now_s
        return True


class OneLine(logging.Filter):
    """Logs an operator's error as its own line, without a traceback of the worker.

    That line, and any other of Faust's with an exception, is the event `worker_failed`. It drops
    what mode logs while it shuts down after a crash, when its thread's loop is already closed, and
    mode's line that only says that there was a crash.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if "We experienced a crash!" in str(record.msg):
            return False
        if not record.exc_info:
            return True
        error = record.exc_info[1]
        if isinstance(error, RuntimeError) and str(error) == "Event loop is closed":
            return False
        if (operators := operator_error(error)) is not None:
            record.msg, record.args = str(operators), ()
            record.exc_info, record.exc_text = None, None
        if operators is not None or record.name.startswith(("faust", "mode")):
            vars(record).update(event("worker_failed", error=type(operators or error).__name__))
        return True


class GroupSaidElsewhere(logging.Filter):
    """Drops the log of aiokafka's group coordination, except tracebacks of the worker's callbacks.

    `worker.kafka.group_monitor` logs in one line what the worker waits for, or ends with. Passing
    errors go on to `Demoted`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        ours = bool(record.exc_info) and str(record.msg).startswith("User provided")
        return ours or _is_passing(record)


def operator_error(error: BaseException | None) -> OperatorError | None:
    """Return the first OperatorError in an exception, its groups and its causes; None: there is
    none."""
    return next((e for e in _flat(error) if isinstance(e, OperatorError)), None)


def _flat(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                yield from _flat(part)
        error = error.__cause__ if error.__cause__ is not error else None


def event(name: str, **fields: object) -> dict[str, object]:
    """Return the `extra=` of a log call: what JSON lines carry beside the sentence.

    name: lower case with underscores, never changed for one kind of event. fields: JSON values;
    common ones are partition, offset, count, reason and seconds. None is a key or a body.
    """
    return {"event": name, "fields": fields}


class TextLines(logging.Formatter):
    """Formats sentences. Times are ISO 8601 in the machine's zone, with its offset and
    milliseconds."""

    def __init__(self) -> None:
        super().__init__(TEXT_FORMAT)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        local = datetime.fromtimestamp(record.created, UTC).astimezone()
        return local.isoformat(timespec="milliseconds")


class JsonLines(logging.Formatter):
    """Formats one JSON object per line: time, level, logger, message, an event's name and fields
    (see `event`), and the exception if there is one. Times are RFC 3339 in UTC, with milliseconds.
    """

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        utc = datetime.fromtimestamp(record.created, UTC)
        return utc.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (name := getattr(record, "event", None)) is not None:
            line = {"event": name, **line, **getattr(record, "fields", {})}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def logging_config(*, level: str, json_lines: bool) -> dict[str, Any]:
    """Return a configuration for `logging.config.dictConfig`: everything to standard error."""
    formatter = {"()": JsonLines if json_lines else TextLines}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "filters": {
            "one_line": {"()": OneLine},
            "demoted": {"()": Demoted, "level": level},
            "unrepeated": {"()": Unrepeated},
            "group_said_elsewhere": {"()": GroupSaidElsewhere},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["one_line"],
            },
            "clients": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["one_line", "demoted", "unrepeated"],
            },
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            # aiokafka warns about a rebalance once per member, which tells an operator nothing.
            **{name: {"level": level if level == "DEBUG" else "ERROR",
                      "handlers": ["clients"], "propagate": False}
               for name in ("aiokafka", "kafka", "botocore", "aiobotocore")},
            "aiokafka.consumer.group_coordinator": {
                "filters": [] if level == "DEBUG" else ["group_said_elsewhere"],
            },
            # What Faust starts and stops internally tells an operator nothing either.
            **{name: {"level": level if level in {"DEBUG", "ERROR"} else "WARNING"}
               for name in ("faust", "mode")},
        },
    }  # fmt: skip
