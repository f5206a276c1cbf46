"""Where a life begins, and the operator's moves."""

import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.position import EPOCH_MAX, WINDOW_SIZE
from poste_restante.table import TableRecord
from tests.records import stable_log
from worker.errors import OperatorError, TableReplaced
from worker.progress import Progress
from worker.record import Fingerprint
from worker.resume import (
    Beginning,
    Closed,
    LogState,
    OpeningNoteKind,
    ResumePlan,
    StartSetting,
    first_progress,
    plan_epoch,
    plan_resume,
    plan_rewind,
    plan_skip,
)

W = WINDOW_SIZE
TABLE = TableRecord(table_id="t1", topic="chat", partitions=4, epoch=2)
LAST = Fingerprint(5, 6)
PROGRESS = Progress(
    table_id="t1", epoch=2, next=3 * W + 500, origin=0, last=LAST, group=3 * W,
    consecutive_dead_letters=7,
    written_at_ms=9,
)  # fmt: skip
LOG = stable_log(0, 5 * W)
SHORT_LOG = stable_log(10, 90)
NOW_MS = 1_000


def plan(
    progress: Progress = PROGRESS,
    *,
    group: int | None = None,
    log: LogState = LOG,
    last_record: Fingerprint | None = LAST,
) -> ResumePlan | Closed:
    return plan_resume(
        table=TABLE,
        topic="chat",
        partition=3,
        progress=progress,
        group=group,
        log=log,
        last_record=last_record,
    )


def opened(progress: Progress = PROGRESS, *, group: int | None, log: LogState = LOG) -> ResumePlan:
    opening = plan(progress, group=group, log=log)
    assert isinstance(opening, ResumePlan)
    return opening


@pytest.mark.parametrize("group", [None, PROGRESS.next, PROGRESS.group])
def test_a_task_begins_at_progress(group: int | None) -> None:
    """A lost group offset costs nothing; our own commit that a crash overtook is no rewind (G1)."""
    assert plan(group=group) == ResumePlan(PROGRESS.next, PROGRESS)


def test_a_group_moved_forward_is_not_followed() -> None:
    """What was not materialized is not skipped; the line names `poste skip` (G1)."""
    opening = opened(group=PROGRESS.next + 10)

    assert (opening.position, opening.progress) == (PROGRESS.next, PROGRESS)
    (note,) = opening.notes
    assert (note.kind, note.level, note.records) == (
        OpeningNoteKind.GROUP_AHEAD,
        logging.WARNING,
        10,
    )
    assert "poste skip" in note.text


def test_a_lower_group_lowers_the_start_to_a_window_border() -> None:
    """And "last confirmed" is forgotten before the first record (G2)."""
    opening = opened(group=W + 7)

    assert opening.position == W
    assert opening.progress == replace(PROGRESS, group=None)
    (note,) = opening.notes
    assert (note.kind, note.level) == (OpeningNoteKind.REWOUND, logging.WARNING)
    assert note.records == PROGRESS.next - W
    assert f"replaying from {W};" in note.text


def test_a_lower_start_is_never_below_the_origin() -> None:
    """The origin counts as a border: this table does not hold what is below (G2)."""
    assert opened(replace(PROGRESS, origin=W + 3), group=W + 7).position == W + 3
    assert opened(replace(PROGRESS, origin=W + 3), group=2).position == W + 3
    log = stable_log(W + 3, 5 * W)
    assert opened(replace(PROGRESS, origin=W + 3), group=2, log=log).position == W + 3


def test_a_border_that_retention_has_eaten_is_the_next_one() -> None:
    """At or below progress, else progress itself (G2)."""
    assert opened(group=W + 7, log=stable_log(W + 1, 5 * W)).position == 2 * W
    assert opened(group=W + 7, log=stable_log(W, 5 * W)).position == W
    late = opened(group=W + 7, log=stable_log(3 * W + 1, 5 * W))
    assert (late.position, late.progress, late.notes) == (PROGRESS.next, PROGRESS, ())


def test_progress_at_the_logs_start_is_no_gap() -> None:
    """Retention may remove all that was read (G1)."""
    opening = plan(log=stable_log(PROGRESS.next, 5 * W), last_record=None)

    assert opening == ResumePlan(PROGRESS.next, PROGRESS)


def test_a_gap_that_retention_made_is_reported_with_its_range() -> None:
    """Origin and start are the log's start; the error names what is lost (G1)."""
    opening = opened(group=3 * W, log=stable_log(4 * W + 5, 5 * W))

    assert opening.position == 4 * W + 5
    moved = replace(PROGRESS, next=4 * W + 5, origin=4 * W + 5, last=None)
    assert opening.progress == moved
    (note,) = opening.notes
    assert (note.kind, note.level, note.records) == (OpeningNoteKind.GAP, logging.ERROR, W - 495)
    assert f"{PROGRESS.next} to {4 * W + 4}" in note.text


@pytest.mark.parametrize(
    ("progress", "log", "last_record", "word"),
    [
        (PROGRESS, stable_log(0, PROGRESS.next - 1), None, "end"),
        (PROGRESS, stable_log(0, 0), None, "end"),
        (PROGRESS, LOG, Fingerprint(5, 7), f"record at {PROGRESS.next - 1} is not the one"),
        (PROGRESS, LOG, Fingerprint(6, 6), "not the one"),
        (replace(PROGRESS, epoch=1), LOG, LAST, "epoch 1"),
        (replace(PROGRESS, epoch=3), LOG, LAST, "epoch 3"),
    ],
)
def test_another_log_or_epoch_keeps_the_partition_closed(
    progress: Progress, log: LogState, last_record: Fingerprint | None, word: str
) -> None:
    """A re-created topic is not read as the old one; the reason names `poste epoch` (G4, G10)."""
    closed = plan(progress, log=log, last_record=last_record)

    assert isinstance(closed, Closed)
    assert word in closed.reason
    assert "poste epoch" in closed.reason


@pytest.mark.parametrize(("last", "there"), [(None, LAST), (LAST, None), (None, None)])
def test_a_record_that_is_gone_or_unknown_is_not_compared(
    last: Fingerprint | None, there: Fingerprint | None
) -> None:
    """Compaction and a first start leave nothing to compare (G1)."""
    assert isinstance(plan(replace(PROGRESS, last=last), last_record=there), ResumePlan)


def test_progress_above_the_stable_end_is_another_log_unless_it_was_skipped_to() -> None:
    """What was read was below the stable end, which never goes back; a skip may lead above it
    (G4, G10)."""
    held_back = LogState(0, PROGRESS.next + 9, stable_end=PROGRESS.next - 1)
    read = plan(log=held_back, last_record=None)
    assert isinstance(read, Closed)
    assert "above the log's end" in read.reason

    skipped = plan(replace(PROGRESS, last=None), log=held_back, last_record=None)
    assert isinstance(skipped, ResumePlan)
    assert skipped.position == PROGRESS.next


def test_the_end_of_the_log_is_no_doubt() -> None:
    """Caught up is where most partitions are (G1)."""
    assert isinstance(
        plan(log=stable_log(PROGRESS.next, PROGRESS.next), last_record=None), ResumePlan
    )


def test_progress_of_another_table_ends_the_process() -> None:
    """A table that was replaced in part serves nobody (G1)."""
    with pytest.raises(TableReplaced):
        plan(replace(PROGRESS, table_id="t2"))


@st.composite
def situations(draw: st.DrawFn) -> tuple[Progress, int | None, LogState]:
    """Origin <= progress <= log end, anything else anywhere, near borders."""
    near = st.builds(lambda n, d: max(0, n * W + d), st.integers(0, 4), st.integers(-3, 3))
    origin, next_ = sorted((draw(near), draw(near)))
    end = next_ + draw(st.integers(0, 2 * W))
    confirmed = draw(st.none() | near)
    progress = replace(PROGRESS, next=next_, origin=origin, group=confirmed)
    start, stable_end = draw(st.integers(0, end) | near), draw(st.integers(next_, end))
    return progress, draw(st.none() | near), LogState(start, end, stable_end)


@given(situations())
def test_a_task_begins_at_progress_a_border_or_the_origin(
    situation: tuple[Progress, int | None, LogState],
) -> None:
    """On that rests the rule by which mailboxes are read (G2)."""
    progress, group, log = situation
    log = replace(log, start=min(log.start, log.stable_end))
    opening = plan(progress, group=group, log=log)
    assert isinstance(opening, ResumePlan)

    stored, position = opening.progress, opening.position
    assert log.start <= position <= log.end
    assert stored.origin <= position <= stored.next
    assert stored.next == max(progress.next, log.start)
    assert stored.origin == (log.start if log.start > progress.next else progress.origin)
    assert position in (stored.next, stored.origin) or position % W == 0
    if position < stored.next:
        assert group is not None
        assert stored.group is None
        assert group != progress.group
        assert position <= group or position == stored.origin or log.start > group - group % W


@given(situations())
def test_the_start_is_the_models(
    situation: tuple[Progress, int | None, LogState],
) -> None:
    """The same as `start` of the model in which the key scheme was checked (G2)."""
    progress, group, log = situation
    log = replace(log, start=min(log.start, log.stable_end))
    opening = plan(replace(progress, group=None), group=group, log=log)
    assert isinstance(opening, ResumePlan)

    start = progress.next
    if group is not None and group < progress.next:
        start = max(group - group % W, progress.origin)
        if start < log.start:
            start = min(-(-log.start // W) * W, progress.next)
    assert opening.position == max(start, log.start)


def first(
    start: StartSetting,
    *,
    partition: int = 0,
    group: int | None = None,
    at_time: int | None = None,
    log: LogState = SHORT_LOG,
) -> Progress:
    return first_progress(
        table=TABLE,
        partition=partition,
        start=start,
        log=log,
        group=group,
        at_time=at_time,
        now_ms=NOW_MS,
    )


@pytest.mark.parametrize(
    ("start", "group", "at_time", "offset"),
    [
        (StartSetting(), 50, 60, 10),
        (StartSetting(Beginning.LATEST), 50, 60, 90),
        (StartSetting(Beginning.GROUP), 50, 60, 50),
        (StartSetting(Beginning.GROUP), 90, 60, 90),
        (StartSetting(Beginning.GROUP), 5, 60, 5),  # `plan_resume` reports the gap
        (StartSetting.at(1), 50, 60, 60),
        (StartSetting.at(1), 50, None, 90),
        (StartSetting.at(1), 50, 5, 10),
    ],
)
def test_a_partition_without_progress_begins_as_set(
    start: StartSetting, group: int | None, at_time: int | None, offset: int
) -> None:
    """What it resolves to is progress and origin (G1, G2)."""
    assert first(start, group=group, at_time=at_time) == Progress(
        table_id="t1", epoch=2, next=offset, origin=offset, written_at_ms=NOW_MS
    )


HELD_BACK_LOG = LogState(10, 90, stable_end=70)


@pytest.mark.parametrize(
    ("start", "group", "at_time", "offset"),
    [
        (StartSetting(Beginning.LATEST), None, None, 70),
        (StartSetting.at(1), None, None, 70),
        (StartSetting.at(1), None, 80, 70),
        (StartSetting(Beginning.GROUP), 85, None, 85),
    ],
)
def test_a_first_start_takes_what_a_transaction_holds_back_unless_the_group_has_it(
    start: StartSetting, group: int | None, at_time: int | None, offset: int
) -> None:
    """What is committed after the start was not there before it (G1, G10)."""
    begun = first(start, group=group, at_time=at_time, log=HELD_BACK_LOG)
    assert begun.next == begun.origin == offset


def test_a_skip_may_leave_out_what_a_transaction_holds_back() -> None:
    """By naming an offset, on purpose; none is above the log's true end (G2)."""

    def skipped(to: int) -> Progress:
        old = replace(PROGRESS, next=60)
        return plan_skip(
            topic="chat", partition=3, progress=old, to=to, log=HELD_BACK_LOG, now_ms=NOW_MS
        )

    assert skipped(90).next == 90
    with pytest.raises(OperatorError, match="the log ends at 90"):
        skipped(91)


@pytest.mark.parametrize(
    "start", [StartSetting(Beginning.LATEST), StartSetting(Beginning.GROUP), StartSetting.at(1)]
)
def test_a_partition_added_later_begins_at_the_logs_start(start: StartSetting) -> None:
    """Whatever the setting: nobody has read it before (G1)."""
    assert first(start, partition=TABLE.partitions).next == 10


@pytest.mark.parametrize(("group", "word"), [(None, "no offset"), (91, "above the log's end")])
def test_a_start_at_the_group_needs_an_offset_of_this_log(group: int | None, word: str) -> None:
    """Taking over from nobody is a mistake (G1)."""
    with pytest.raises(OperatorError, match=word):
        first(StartSetting(Beginning.GROUP), group=group)


def test_a_time_belongs_to_a_start_at_a_time() -> None:
    """Half a setting is none (G8)."""
    with pytest.raises(ValueError, match="time_ms"):
        StartSetting(Beginning.TIME)
    with pytest.raises(ValueError, match="time_ms"):
        StartSetting(Beginning.LATEST, 5)


@pytest.mark.parametrize(
    ("start", "text"),
    [(StartSetting(Beginning.LATEST), "latest"), (StartSetting.at(5), "time 5 ms")],
)
def test_a_start_is_shown_as_it_is_set(start: StartSetting, text: str) -> None:
    """In the line that says where a partition begins (G8)."""
    assert str(start) == text


@pytest.mark.parametrize(("end", "stable_end", "held_back"), [(90, 70, 20), (70, 70, 0), (6, 7, 0)])
def test_what_lies_above_the_stable_end_is_held_back(
    end: int, stable_end: int, held_back: int
) -> None:
    """Never less than nothing: the two are asked for one after the other (G9)."""
    assert LogState(0, end, stable_end).held_back == held_back


def test_skip_moves_progress_and_origin() -> None:
    """And ends the run of dead letters that it was made for (G9)."""
    to = PROGRESS.next + 10
    skipped = plan_skip(topic="chat", partition=3, progress=PROGRESS, to=to, log=LOG, now_ms=NOW_MS)

    assert skipped == replace(
        PROGRESS, next=to, origin=to, last=None, consecutive_dead_letters=0, written_at_ms=NOW_MS
    )


def test_skip_to_progress_changes_nothing() -> None:
    """An interrupted command is run again (G9)."""
    to = PROGRESS.next
    again = plan_skip(topic="chat", partition=3, progress=PROGRESS, to=to, log=LOG, now_ms=NOW_MS)

    assert again is PROGRESS


@pytest.mark.parametrize(("to", "word"), [(PROGRESS.next - 1, "rewind"), (LOG.end + 1, "ends at")])
def test_skip_goes_forward_within_the_log(to: int, word: str) -> None:
    """Progress is only ever in the log (G1)."""
    with pytest.raises(OperatorError, match=word):
        plan_skip(topic="chat", partition=3, progress=PROGRESS, to=to, log=LOG, now_ms=NOW_MS)


@given(situations())
def test_rewind_begins_where_a_task_may(
    situation: tuple[Progress, int | None, LogState],
) -> None:
    """The operator's rewind follows the rule of the lives, and the next start is there (G2)."""
    progress, wanted, log = situation
    log = replace(log, start=min(log.start, progress.next))
    to = min(wanted or 0, progress.next)
    rewound = plan_rewind(
        topic="chat", partition=3, progress=progress, to=to, log=log, now_ms=NOW_MS
    )

    assert rewound.origin == progress.origin <= rewound.next <= progress.next
    assert log.start <= rewound.next
    assert rewound == progress or rewound.next % W == 0 or rewound.next == progress.origin
    assert opened(rewound, group=rewound.next, log=log).position == rewound.next


def rewound(to: int, progress: Progress = PROGRESS) -> Progress:
    return plan_rewind(topic="chat", partition=3, progress=progress, to=to, log=LOG, now_ms=NOW_MS)


@pytest.mark.parametrize("to", [PROGRESS.next + 1, 4 * W])
def test_rewind_goes_back(to: int) -> None:
    """Forward is `poste skip` (G1)."""
    with pytest.raises(OperatorError, match="skip"):
        rewound(to)


@pytest.mark.parametrize(("to", "border"), [(PROGRESS.next, 3 * W), (3 * W, 3 * W), (W + 7, W)])
def test_rewind_to_progress_or_below_begins_its_window_anew(to: int, border: int) -> None:
    """And forgets the record, the group's offset and the dead letters of before (G2, G9)."""
    assert rewound(to) == replace(
        PROGRESS,
        next=border,
        last=None,
        group=None,
        consecutive_dead_letters=0,
        written_at_ms=NOW_MS,
    )


@pytest.mark.parametrize("to", [3 * W, 3 * W + 499])
def test_rewind_made_again_changes_nothing(to: int) -> None:
    """An interrupted command is run again, with the offset that it named (G9)."""
    done = replace(PROGRESS, next=3 * W)

    assert rewound(to, done) is done


def test_an_epoch_begins_at_the_logs_start() -> None:
    """The second life of a topic is read whole, and sorts after the first (G4, G10)."""
    opened_epoch = plan_epoch(table=TABLE, begin=10, now_ms=NOW_MS)

    assert opened_epoch == Progress(
        table_id="t1", epoch=3, next=10, origin=10, written_at_ms=NOW_MS
    )
    with pytest.raises(OperatorError, match="last one"):
        plan_epoch(table=replace(TABLE, epoch=EPOCH_MAX), begin=0, now_ms=1)
