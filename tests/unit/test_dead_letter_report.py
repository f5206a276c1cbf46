"""What the log and the counters say of dead letters: all, in few lines, and nothing else."""

import logging
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.records import MadeRecord
from worker.dead_letter_report import LOG_EVERY_S, DeadLetterReport
from worker.dead_letters import DeadLetter
from worker.errors import DeadLetterReason


def letters(partition: int, *reasons: DeadLetterReason, start: int = 0) -> list[DeadLetter]:
    """A dead letter per reason, at offsets from `start` on."""
    return [
        DeadLetter(MadeRecord(partition=partition, offset=start + n, key=b"secret"), reason, "why")
        for n, reason in enumerate(reasons)
    ]


class Clock:
    """A time that passes when it is told to, with what is called then."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._calls: list[tuple[float, Callable[[], None]]] = []

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._calls.append((self.now_s + delay_s, call))

    def passes(self, seconds: float) -> None:
        self.now_s += seconds
        due = [call for at_s, call in self._calls if at_s <= self.now_s]
        self._calls = [(at_s, call) for at_s, call in self._calls if at_s > self.now_s]
        for call in due:
            call()


class Lines(logging.Handler):
    """The fields of the lines that the report has logged, and when."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.fields: list[dict[str, Any]] = []
        self.at_s: dict[int, list[float]] = {}
        self._clock = clock

    def emit(self, record: logging.LogRecord) -> None:
        fields = vars(record)["fields"]
        self.fields.append(fields)
        self.at_s.setdefault(fields["partition"], []).append(self._clock.now_s)

    def __enter__(self) -> Self:
        logging.getLogger("worker.dead_letter_report").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("worker.dead_letter_report").removeHandler(self)


def made() -> tuple[DeadLetterReport, Clock]:
    clock = Clock()
    return DeadLetterReport(clock=lambda: clock.now_s, later=clock.later), clock


def test_a_flush_with_dead_letters_is_one_warning_with_counts_and_offsets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By reason; no key and no body."""
    report, _ = made()
    report.add(
        letters(
            3,
            DeadLetterReason.NO_BODY,
            DeadLetterReason.TOO_LARGE,
            DeadLetterReason.NO_BODY,
            start=7,
        )
    )

    (line,) = caplog.records
    assert line.levelname == "WARNING"
    assert line.getMessage() == (
        "partition 3: dead letters: 3 (no_body 2, too_large 1), offsets 7 to 9"
    )
    assert vars(line)["event"] == "dead_letters_sent"
    assert vars(line)["fields"] == {
        "partition": 3, "count": 3, "reasons": {"no_body": 2, "too_large": 1}, "offset": 7,
        "last_offset": 9, "flushes": 1,
    }  # fmt: skip
    assert "secret" not in str(vars(line))


def test_many_flushes_a_second_are_one_line_per_partition_with_summed_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first at once, the others together when its time is over; each partition for itself."""
    report, clock = made()
    for n in range(50):
        report.add(letters(3, DeadLetterReason.NO_BODY, start=n))
        clock.passes(0.1)
    report.add(letters(4, DeadLetterReason.TOO_LARGE))
    assert [vars(record)["fields"]["count"] for record in caplog.records] == [1, 1]

    clock.passes(LOG_EVERY_S)
    fields = [vars(record)["fields"] for record in caplog.records]
    assert [(f["partition"], f["count"], f["flushes"]) for f in fields] == [
        (3, 1, 1), (4, 1, 1), (3, 49, 49),
    ]  # fmt: skip
    assert (fields[2]["offset"], fields[2]["last_offset"]) == (1, 49)

    clock.passes(LOG_EVERY_S)
    assert len(caplog.records) == 3
    report.add(letters(3, DeadLetterReason.NO_BODY))
    assert len(caplog.records) == 4


def test_what_waits_for_its_time_is_said_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """A worker that stops leaves nothing unsaid, and says nothing twice."""
    report, clock = made()
    report.add(letters(3, DeadLetterReason.NO_BODY))
    report.add(letters(3, DeadLetterReason.NO_BODY, DeadLetterReason.NO_BODY, start=1))
    report.log_rest()
    clock.passes(2 * LOG_EVERY_S)

    assert [vars(record)["fields"]["count"] for record in caplog.records] == [1, 2]


_FLUSHES = st.tuples(
    st.integers(0, 3), st.lists(st.sampled_from(list(DeadLetterReason)), min_size=1, max_size=5),
    st.floats(0, 2 * LOG_EVERY_S),
)  # fmt: skip


@given(st.lists(_FLUSHES, max_size=40))
def test_nothing_is_uncounted_and_no_partition_floods(
    flushes: list[tuple[int, list[DeadLetterReason], float]],
) -> None:
    """Whatever comes when: lines and counters have the same sums, and a partition's lines are
    LOG_EVERY_S apart."""
    report, clock = made()
    sent: list[tuple[int, DeadLetterReason]] = []
    with Lines(clock) as lines:
        for partition, reasons, pause_s in flushes:
            report.add(letters(partition, *reasons))
            sent += [(partition, reason) for reason in reasons]
            clock.passes(pause_s)
        apart = [b - a for times in lines.at_s.values() for a, b in pairwise(times)]
        report.log_rest()

    assert all(seconds >= LOG_EVERY_S - 1e-6 for seconds in apart)
    assert report.counts == Counter(sent)
    assert sum(fields["count"] for fields in lines.fields) == len(sent)
