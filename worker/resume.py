"""Decides where a partition resumes, and where the operator's moves lead. Pure.

A partition task begins at progress, or at a window border (or the origin) below it. The rule by
which mailboxes are read depends on that. The inputs are:

    table record, progress, the group's offset, log start and end, the record at progress - 1
"""

import logging
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from poste_restante.position import EPOCH_MAX, window_end, window_start
from poste_restante.table import TableRecord
from worker.errors import OperatorError, TableReplaced
from worker.progress import Progress
from worker.record import Fingerprint


@dataclass(frozen=True, slots=True)
class LogState:
    """What the broker holds of a partition: offsets from `start` up to, not including, `end`.

    stable_end: how far a reader of committed records sees; below `end` while a transaction is open.
    Compare with `stable_end` what this worker has read or can read now. Compare with `end` an
    offset that may come from a reader of uncommitted records, or from an operator's skip.
    """

    start: int
    end: int
    stable_end: int

    @property
    def held_back(self) -> int:
        """Number of offsets that wait for the end of a transaction."""
        return max(0, self.end - self.stable_end)


class OpeningNoteKind(StrEnum):
    """Kinds of notes of an opening; the values are names of events in the log."""

    GAP = "retention_gap"
    GROUP_AHEAD = "group_offset_ahead"
    REWOUND = "group_offset_rewound"


@dataclass(frozen=True, slots=True)
class OpeningNote:
    """One line for the operator, logged at `level` (of `logging`).

    records: number of offsets it concerns.
    """

    kind: OpeningNoteKind
    level: int
    text: str
    records: int


@dataclass(frozen=True, slots=True)
class ResumePlan:
    """The partition task begins at `position`. `progress` must be stored before its first
    record."""

    position: int
    progress: Progress
    notes: tuple[OpeningNote, ...] = ()


@dataclass(frozen=True, slots=True)
class Closed:
    """The partition is not read; the reason is one line that says what to do."""

    reason: str


class Beginning(StrEnum):
    """Where a partition without progress begins."""

    EARLIEST = "earliest"
    LATEST = "latest"
    TIME = "time"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class StartSetting:
    """The setting `kafka.start`. time_ms: epoch milliseconds; set only for TIME."""

    beginning: Beginning = Beginning.EARLIEST
    time_ms: int | None = None

    def __post_init__(self) -> None:
        if (self.beginning is Beginning.TIME) != (self.time_ms is not None):
            raise ValueError("time_ms belongs to a start at a time, and to no other")

    @classmethod
    def at(cls, time_ms: int) -> Self:
        return cls(Beginning.TIME, time_ms)

    def __str__(self) -> str:
        return self.beginning if self.time_ms is None else f"time {self.time_ms} ms"


def first_progress(
    *,
    table: TableRecord,
    partition: int,
    start: StartSetting,
    log: LogState,
    group: int | None,
    at_time: int | None,
    now_ms: int,
) -> Progress:
    """Return progress of a partition that has none, to be stored on condition of absence.

    Partitions that the table record does not count were added later: they start at the log's start,
    whatever the setting. at_time: first offset at or after `start.time_ms`; None: the log has none,
    so start at its end. A group's offset that retention has passed is used as it is: `plan_resume`
    then reports the gap.

    A start at the end, or at a time beyond it, means the stable end, like Kafka's `latest` for a
    reader of committed records: what an open transaction holds back is delivered when it commits. A
    group's offset is compared with the true end, because the earlier consumer may have read
    uncommitted records.

    Raises OperatorError for a start at the group's offset if it has none, or one that this log
    cannot have given it.
    """
    if partition >= table.partitions or start.beginning is Beginning.EARLIEST:
        offset = log.start
    elif start.beginning is Beginning.LATEST:
        offset = log.stable_end
    elif start.beginning is Beginning.TIME:
        offset = log.stable_end if at_time is None else min(max(at_time, log.start), log.stable_end)
    elif group is None:
        raise OperatorError(
            f'{table.topic}-{partition}: kafka.start is "group", but the group has no offset'
            " there: name the existing consumer's group in kafka.group, or choose another start"
        )
    elif group > log.end:
        raise OperatorError(
            f'{table.topic}-{partition}: kafka.start is "group", but the group\'s offset {group}'
            f" is above the log's end {log.end}: choose another start"
        )
    else:
        offset = group
    return _unread(table.table_id, table.epoch, offset, now_ms)


def _unread(table_id: str, epoch: int, offset: int, now_ms: int) -> Progress:
    return Progress(
        table_id=table_id, epoch=epoch, next=offset, origin=offset, written_at_ms=now_ms
    )


def plan_resume(
    *,
    table: TableRecord,
    topic: str,
    partition: int,
    progress: Progress,
    group: int | None,
    log: LogState,
    last_record: Fingerprint | None,
) -> ResumePlan | Closed:
    """Return where the partition task begins, and what must be stored first.

    group: the group's committed offset, None if it has none. last_record: of the record at progress
    - 1; None: it is gone or was not asked for, so it is not compared.

    Raises TableReplaced if the progress belongs to another table.
    """
    name = f"{topic}-{partition}"
    if progress.table_id != table.table_id:
        raise TableReplaced(
            f"{name}: its progress was written for table id {progress.table_id}, this table is"
            f" {table.table_id}: the table was copied or replaced in part; restore it whole"
        )
    reason = _reason_to_stay_closed(name, table, progress, log, last_record)
    if reason is not None:
        return Closed(reason)
    if progress.next < log.start:
        return _after_gap(name, progress, log)
    if group is None or group in (progress.next, progress.group):
        return ResumePlan(progress.next, progress)
    if group > progress.next:
        return ResumePlan(progress.next, progress, (_group_ahead(name, progress, group),))
    position = rounded_down(group, progress, log)
    if position == progress.next:
        return ResumePlan(position, progress)
    note = OpeningNote(
        OpeningNoteKind.REWOUND,
        logging.WARNING,
        f"{name}: the group's offset {group} is below progress {progress.next}: replaying from"
        f" {position}; what was acknowledged does not come back",
        progress.next - position,
    )
    return ResumePlan(position, replace(progress, group=None), (note,))


def _reason_to_stay_closed(
    name: str,
    table: TableRecord,
    progress: Progress,
    log: LogState,
    last_record: Fingerprint | None,
) -> str | None:
    """Return why the progress belongs to another log or epoch; None: the partition may be opened.

    Records are read below the stable end, which never goes back. Progress above it therefore
    belongs to another log, whose last record cannot be compared. Progress without a last record may
    be an operator's skip over what an open transaction holds back, so it is compared with the true
    end.
    """
    if progress.epoch != table.epoch:
        return (
            f"{name}: its progress is of epoch {progress.epoch}, the table's epoch is"
            f" {table.epoch}: `poste epoch` was interrupted; stop the workers and run"
            " `poste epoch`"
        )
    end = log.end if progress.last is None else log.stable_end
    if progress.next > end:
        found = f"progress {progress.next} is above the log's end {end}"
    elif None not in (progress.last, last_record) and progress.last != last_record:
        found = f"the record at {progress.next - 1} is not the one that was read there"
    else:
        return None
    return (
        f"{name}: {found}: the topic was re-created, truncated or mirrored; stop the workers and"
        " run `poste epoch` to read it from its start as a new log"
    )


def _after_gap(name: str, progress: Progress, log: LogState) -> ResumePlan:
    note = OpeningNote(
        OpeningNoteKind.GAP,
        logging.ERROR,
        f"{name}: offsets {progress.next} to {log.start - 1} were removed by retention before"
        f" they were read; going on at the log's start {log.start}",
        log.start - progress.next,
    )
    moved = replace(progress, next=log.start, origin=log.start, last=None)
    return ResumePlan(log.start, moved, (note,))


def _group_ahead(name: str, progress: Progress, group: int) -> OpeningNote:
    return OpeningNote(
        OpeningNoteKind.GROUP_AHEAD,
        logging.WARNING,
        f"{name}: the group's offset {group} is above progress {progress.next} and is not"
        f" followed: records between are not in the mailboxes; to leave them out, stop the workers"
        " and run `poste skip`",
        group - progress.next,
    )


def rounded_down(wanted: int, progress: Progress, log: LogState) -> int:
    """Return the start of a partition task for a wanted offset below progress.

    It is the window border at or below the offset, but never below the origin, which counts as a
    border. If retention removed that border, it is the next one not above progress, else progress
    itself: any other offset would let a bundle begin in the middle of older ones.
    """
    position = max(window_start(wanted), progress.origin)
    if position >= log.start:
        return position
    return min(window_end(log.start), progress.next)


def plan_skip(
    *, topic: str, partition: int, progress: Progress, to: int, log: LogState, now_ms: int
) -> Progress:
    """Return progress after a skip: the offsets in between are never read. Raises OperatorError.

    The target may be anywhere up to the log's true end, because an operator may skip what an open
    transaction holds back.
    """
    name = f"{topic}-{partition}"
    if to < progress.next:
        raise OperatorError(
            f"{name}: {to} is below progress {progress.next}; to go back use `poste rewind`"
        )
    if to > log.end:
        raise OperatorError(f"{name}: cannot skip to {to}: the log ends at {log.end}")
    if to == progress.next:
        return progress
    return replace(
        progress, next=to, origin=to, last=None, consecutive_dead_letters=0, written_at_ms=now_ms
    )


def plan_rewind(
    *, topic: str, partition: int, progress: Progress, to: int, log: LogState, now_ms: int
) -> Progress:
    """Return progress after a rewind, rounded like the start of a partition task. The group must be
    moved to its `next` as well. Progress is unchanged if retention left nothing to replay, or if
    the rewind was made already: an interrupted command is run again for all of its partitions.

    Raises OperatorError for a target above progress.
    """
    position = rounded_down(to, progress, log)
    if to > progress.next > position or position > progress.next:
        raise OperatorError(
            f"{topic}-{partition}: {to} is above progress {progress.next}; to go forward use"
            " `poste skip`"
        )
    if position == progress.next:
        return progress
    return replace(
        progress,
        next=position,
        last=None,
        group=None,
        consecutive_dead_letters=0,
        written_at_ms=now_ms,
    )


def plan_epoch(*, table: TableRecord, begin: int, now_ms: int) -> Progress:
    """Return progress of a partition when the next epoch is opened. A repeat gives the same.

    begin: the first offset that is read, mostly the log's start.

    Raises OperatorError when the epochs are used up.
    """
    if table.epoch >= EPOCH_MAX:
        raise OperatorError(f"epoch {EPOCH_MAX} is the last one: make a new table, `poste init`")
    return _unread(table.table_id, table.epoch + 1, begin, now_ms)
