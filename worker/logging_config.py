"""How the worker logs: one line for what an operator must mend, no floods.

While a broker is away aiokafka logs about 76 errors a second; the same message of one logger
passes at most once in `REPEAT_S`. What passes by itself is no ERROR.
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
#: Seconds between two lines about something that lasts, as a wait for a service.
LASTING_S = 30.0
#: Distinct messages that are remembered for that; the oldest goes first.
REMEMBERED_MAX = 256

#: Errors of a broker that a start, a rebalance or a new coordinator brings, and that the client
#: library retries by itself; by name, so that no command has to import it. aiokafka logs them as
#: ERROR (aiokafka/consumer/group_coordinator.py), on every first start of a group among them.
PASSING_ERRORS = frozenset({
    "GroupCoordinatorNotAvailableError", "GroupLoadInProgressError", "LeaderNotAvailableError",
    "NotCoordinatorForGroupError", "RebalanceInProgressError",
})  # fmt: skip

#: For what services of mode say of themselves: starting, stopping.
SERVICES_LOGGER = logging.getLogger("mode.poste")

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Unrepeated(logging.Filter):
    """Lets a message of a logger pass once in `REPEAT_S` seconds."""

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
    """Makes INFO of a client library's ERROR about what passes by itself (PASSING_ERRORS).

    level: lowest level that is shown, by its name: demoted lines below it are left out.
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
    """Whether a line is about such an error: an argument of it is one, or its class."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    kinds = (each if isinstance(each, type) else type(each) for each in arguments)
    return any(kind.__name__ in PASSING_ERRORS for kind in kinds)


class Seldom:
    """Tells whether the next line about something that lasts is due: at most twice a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_s: float | None = None

    def is_due(self) -> bool:
        """Return whether to log; then the next line is due `LASTING_S` seconds later."""
        now_s = self._clock()
        if self._last_s is not None and now_s - self._last_s < LASTING_S:
            return False
        self._last_s = now_s
        return True


class OneLine(logging.Filter):
    """An operator's error is said in its own line, without a traceback of ours.

    That line, and any other of Faust's with an exception, is the event `worker_failed`.
    What mode may log while it takes itself apart after a crash is left out: its thread's loop is
    closed already. So is the line by which mode says that there was a crash, and no more.
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
    """Leaves out what aiokafka's group coordination logs, but for tracebacks of our own callbacks.

    `worker.kafka.group_monitor` says in one line what the worker waits for, or ends with.
    Passing errors go on to `Demoted`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        ours = bool(record.exc_info) and str(record.msg).startswith("User provided")
        return ours or _is_passing(record)


def operator_error(error: BaseException | None) -> OperatorError | None:
    """The first operator's error in an exception, its groups and its causes; None: none."""
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

    name: lower case with underscores, the same for one kind of event for ever. fields: JSON values;
    common ones are partition, offset, count, reason and seconds. None of them is a key or a body.
    """
    return {"event": name, "fields": fields}


class TextLines(logging.Formatter):
    """Sentences. Times are ISO 8601 in the machine's zone, with its offset and milliseconds."""

    def __init__(self) -> None:
        super().__init__(TEXT_FORMAT)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        local = datetime.fromtimestamp(record.created, UTC).astimezone()
        return local.isoformat(timespec="milliseconds")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, an event's name and fields, and the
    exception if there is one. See `event`. Times are RFC 3339 in UTC, with milliseconds."""

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
    """A configuration for `logging.config.dictConfig`: everything to standard error."""
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
            # A rebalance is a warning per member to aiokafka, and no news to an operator.
            **{name: {"level": level if level == "DEBUG" else "ERROR",
                      "handlers": ["clients"], "propagate": False}
               for name in ("aiokafka", "kafka", "botocore", "aiobotocore")},
            "aiokafka.consumer.group_coordinator": {
                "filters": [] if level == "DEBUG" else ["group_said_elsewhere"],
            },
            # What Faust starts and stops in itself is no news either; we say what matters.
            **{name: {"level": level if level in {"DEBUG", "ERROR"} else "WARNING"}
               for name in ("faust", "mode")},
        },
    }  # fmt: skip
