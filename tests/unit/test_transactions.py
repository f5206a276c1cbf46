"""Partitions that an open transaction holds back: when to warn, and what to say."""

import logging

import pytest

from tests.records import stable_log
from worker.kafka.transactions import REPEAT_S, OpenTransactions
from worker.readiness import ReadinessNote
from worker.resume import LogState

WARN_S = 60.0


class Watched:
    """The watch of a topic, with a clock that the test moves."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self._caplog = caplog
        self.now_s = 100.0
        self.transactions = OpenTransactions(
            brokers="kafka:9092", topic="chat", warn_s=WARN_S, clock=lambda: self.now_s
        )

    def judge(self, seconds: float, **states: LogState) -> list[str]:
        """The levels of what is logged by a check, so many seconds after the last one."""
        self.now_s += seconds
        self._caplog.clear()
        self.transactions.judge({int(name[1:]): state for name, state in states.items()})
        return [record.levelname for record in self._caplog.records]

    @property
    def said(self) -> str:
        return self._caplog.text

    def notes(self) -> tuple[ReadinessNote, ...]:
        return self.transactions.notes()


@pytest.fixture
def watched(caplog: pytest.LogCaptureFixture) -> Watched:
    return Watched(caplog)


HELD_BACK = LogState(0, 663, stable_end=612)


def test_a_transaction_within_the_limit_is_not_mentioned(watched: Watched) -> None:
    watched.judge(0, p3=HELD_BACK)
    assert watched.judge(WARN_S - 1, p3=HELD_BACK) == []
    assert watched.notes() == ()


def test_a_transaction_that_lasts_is_logged_with_the_way_to_abort_it(watched: Watched) -> None:
    watched.judge(0, p3=HELD_BACK, p4=stable_log(0, 700))
    assert watched.judge(WARN_S, p3=HELD_BACK, p4=stable_log(0, 700)) == ["WARNING"]
    assert "partition 3: an open transaction has held back its 51 offsets from 612" in watched.said
    assert (
        "kafka-transactions.sh --bootstrap-server kafka:9092 abort --topic chat --partition 3"
        " --start-offset 612"
    ) in watched.said
    (note,) = watched.notes()
    assert (note.kind, note.partition) == ("open_transaction", 3)
    assert "for 60 s" in note.text


def test_a_warning_is_repeated_seldom_while_more_is_held_back(watched: Watched) -> None:
    watched.judge(0, p3=HELD_BACK)
    watched.judge(WARN_S, p3=HELD_BACK)
    more = LogState(0, 1_000, stable_end=612)
    assert watched.judge(REPEAT_S - 1, p3=more) == []
    assert watched.judge(1, p3=more) == ["WARNING"]
    assert "388 offsets" in watched.said


def test_a_stable_end_that_moves_is_a_topic_at_work(watched: Watched) -> None:
    """However far it is behind: producers take turns."""
    for offset in range(10):
        state = LogState(0, 663, stable_end=600 + offset)
        assert watched.judge(WARN_S, p3=state) == []
    assert watched.notes() == ()


def test_a_transaction_that_has_ended_is_said_once(watched: Watched) -> None:
    watched.judge(0, p3=HELD_BACK)
    watched.judge(WARN_S, p3=HELD_BACK)
    assert watched.judge(1, p3=stable_log(0, 664)) == ["INFO"]
    assert "partition 3: the transaction that held it back has ended" in watched.said
    assert watched.judge(1, p3=stable_log(0, 664)) == []
    assert watched.notes() == ()


def test_a_partition_that_is_given_away_is_forgotten(watched: Watched) -> None:
    watched.judge(0, p3=HELD_BACK)
    watched.judge(WARN_S, p3=HELD_BACK)
    assert watched.judge(1) == []
    assert watched.notes() == ()
    assert watched.judge(1, p3=HELD_BACK) == []
