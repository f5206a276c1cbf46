"""The rules of progress and of where a partition task begins, each left out once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from poste_restante import position
from tests.model import profiles
from tests.model import worker as model_worker
from tests.model.variants import unconditional, variant
from worker import opening, resume
from worker.assignment import Assignment, PartitionTask
from worker.cli import admin_client as operations
from worker.committer import Committer
from worker.dynamodb.progress_store import DynamoDBProgress
from worker.errors import TableReplaced
from worker.opening import Log
from worker.progress import Progress
from worker.resume import LogState, ResumePlan

# ---- progress


@variant(profiles.EVERYTHING, 3, "LOST")
def progress_of_what_is_not_durable() -> Iterator[None]:
    progress = PartitionTask.progress

    def ahead(task: PartitionTask, now_ms: int) -> Progress:
        return replace(progress(task, now_ms), next=task.fetched)

    with patch.object(PartitionTask, "progress", ahead):
        yield


@variant(profiles.EVERYTHING, 0, "COMMITTED-UNWRITTEN")
def the_group_is_committed_up_to_what_was_fetched() -> Iterator[None]:
    commit = Committer.commit

    async def commit_fetched(committer: Committer, current: Callable[[], Assignment]) -> bool:
        for task in current().to_commit():
            await committer.commit_offsets({task.partition: task.fetched})
        return await commit(committer, current)

    with patch.object(Committer, "commit", commit_fetched):
        yield


@variant(profiles.RETENTION, 130, "LOST")
def progress_goes_down() -> Iterator[None]:
    async def advance(
        store: DynamoDBProgress, partition: int, seen: Progress, new: Progress
    ) -> Progress:
        stored = await store.read(partition)
        if stored is None or (stored.table_id, stored.epoch) != (seen.table_id, seen.epoch):
            raise TableReplaced("the progress is of another table or epoch")
        moved = replace(new, origin=stored.origin)
        await store.move(partition, stored, moved)
        return moved

    with patch.object(DynamoDBProgress, "advance", advance):
        yield


@variant(profiles.BEGINNINGS, 4, "LOST", "FOREIGN")
def progress_of_another_epoch_is_raised() -> Iterator[None]:
    """A zombie of the topic's first epoch raises the progress of its second."""

    async def advance(
        store: DynamoDBProgress, partition: int, seen: Progress, new: Progress
    ) -> Progress:
        stored = await store.read(partition)
        assert stored is not None
        if stored.next >= new.next:
            return stored
        raised = replace(stored, next=new.next, last=new.last)
        await store.move(partition, stored, raised)
        return raised

    with patch.object(DynamoDBProgress, "advance", advance):
        yield


# ---- where a partition task begins


def _raw(wanted: int, progress: Progress, log: LogState) -> int:
    return min(max(wanted, log.start, progress.origin), progress.next)


@variant(profiles.REPLAYS, 12, "LOST", "HOLE")
def a_task_begins_between_window_borders() -> Iterator[None]:
    """A lower offset of the group is taken as it is."""
    plan = resume.plan_resume

    def planned(**asked: Any) -> Any:
        with patch.object(resume, "rounded_down", _raw):
            return plan(**asked)

    with patch.object(opening, "plan_resume", planned):
        yield


@variant(profiles.REWINDS, 19, "LOST", "HOLE")
def a_rewind_is_not_rounded() -> Iterator[None]:
    plan = resume.plan_rewind

    def planned(**asked: Any) -> Progress:
        with patch.object(resume, "rounded_down", _raw):
            return plan(**asked)

    with patch.object(operations, "plan_rewind", planned):
        yield


@variant(profiles.RETENTION, 18, "LOST", "HOLE")
def a_border_that_retention_ate_is_no_matter() -> Iterator[None]:
    """The task begins at the log's start instead of the next border."""

    def begun(wanted: int, progress: Progress, log: LogState) -> int:
        at = max(position.window_start(wanted), progress.origin, log.start)
        return min(at, progress.next)

    with patch.object(resume, "rounded_down", begun):
        yield


@variant(profiles.EVERYTHING, 11, "HIDDEN", "ACK-COVERS-UNRETURNED", "LOST")
def a_task_begins_below_the_origin() -> Iterator[None]:
    rounded = resume.rounded_down

    def begun(wanted: int, progress: Progress, log: LogState) -> int:
        return rounded(wanted, replace(progress, origin=0), log)

    with patch.object(resume, "rounded_down", begun):
        yield


@variant(profiles.SKIPS, 48, "HIDDEN", "ACK-COVERS-UNRETURNED", "LOST")
def a_skip_leaves_the_origin() -> Iterator[None]:
    plan = resume.plan_skip

    def planned(*, progress: Progress, **asked: Any) -> Progress:
        return replace(plan(progress=progress, **asked), origin=progress.origin)

    with patch.object(operations, "plan_skip", planned):
        yield


@variant(profiles.EVERYTHING, 3, "HOLE", "LOST")
def the_group_is_followed_forward() -> Iterator[None]:
    plan = resume.plan_resume

    def planned(*, progress: Progress, group: int | None, log: LogState, **asked: Any) -> Any:
        planned = plan(progress=progress, group=group, log=log, **asked)
        if isinstance(planned, ResumePlan) and group and progress.next < group <= log.end:
            return ResumePlan(group, progress)
        return planned

    with patch.object(opening, "plan_resume", planned):
        yield


@variant(profiles.BEGINNINGS, 255, "HIDDEN", "ACK-COVERS-UNRETURNED", "LOST", "HOLE")
def a_first_start_is_not_recorded() -> Iterator[None]:
    """It is made out again at every assignment, until there is progress."""
    advance = DynamoDBProgress.advance

    async def create(store: DynamoDBProgress, partition: int, progress: Progress) -> Progress:
        return progress

    async def advanced(
        store: DynamoDBProgress, partition: int, seen: Progress, new: Progress
    ) -> Progress:
        if await store.read(partition) is None:
            await created(store, partition, seen)
        return await advance(store, partition, seen, new)

    created = DynamoDBProgress.create
    with (
        patch.object(DynamoDBProgress, "create", create),
        patch.object(DynamoDBProgress, "advance", advanced),
    ):
        yield


@variant(profiles.BEGINNINGS, 20, "ORIGIN", "LOST", "HOLE", "HIDDEN", "ACK-COVERS-UNRETURNED")
def a_first_start_overwrites_another() -> Iterator[None]:
    """It is recorded without the condition that there is none."""
    with unconditional("attribute_not_exists(user_id)"):
        yield


@variant(profiles.RETENTION, 50, "LOST", "HOLE")
def a_jump_over_retention_is_gone_on_from() -> Iterator[None]:
    async def follows(task: PartitionTask, records: Sequence[Any], log: Log) -> bool:
        return True

    with patch.object(model_worker, "follows", follows):
        yield
