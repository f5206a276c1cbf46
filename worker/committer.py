"""Step 6 of the flush: save progress of what is durable, then commit the group's offsets."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from worker.assignment import Assignment, PartitionTask
from worker.outcomes import CommitOutcome
from worker.progress import ProgressStore

#: Commits offsets by partition. False: the group has moved on, or the broker refuses.
CommitOffsets = Callable[[Mapping[int, int]], Awaitable[bool]]


class Committer:
    """Saves progress, then commits the group's offsets, of one assignment at a time.

    The order matters when a worker crashes between the two steps. The group's offset is then behind
    progress, and the next opening of the partition commits what is missing. If the group's offset
    were committed first, a crash would leave it ahead of progress: the worker resumes at progress
    and reads those records again, while Kafka's tools already count them as done.

    progress: where progress is saved. commit_offsets: commits the group's offsets. now_ms: the
    clock, epoch milliseconds. on_commit: called for each commit that had something to commit.
    """

    def __init__(
        self,
        progress: ProgressStore,
        commit_offsets: CommitOffsets,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        on_commit: Callable[[CommitOutcome], None] = lambda _: None,
    ) -> None:
        self._on_commit = on_commit
        self._progress = progress
        self.commit_offsets = commit_offsets
        self._now_ms = now_ms
        self._committing = asyncio.Lock()

    async def commit(self, current: Callable[[], Assignment]) -> bool:
        """Commit what the current assignment has made durable; return whether the group accepted
        it.

        A partition's group offset goes exactly up to what its task made durable, never up to stored
        progress, which is above the task during a replay. One commit runs at a time, and it may be
        cancelled. current: called again after progress is saved, because a rebalance may have come
        between. Raises TableReplaced and ProgressMovedBack like `ProgressStore.advance`.
        """
        async with self._committing:
            assignment = current()
            tasks = assignment.to_commit()
            if not tasks:
                return False
            offsets = {task.partition: task.durable for task in tasks}
            now_ms = self._now_ms()
            async with asyncio.TaskGroup() as saves:
                for task in tasks:
                    saves.create_task(self.save_progress(task, now_ms))
            if assignment is not current() or assignment.broken is not None:
                self._on_commit(CommitOutcome.NOT_COMMITTED)
                return False
            done = await self.commit_offsets(offsets)
            self._on_commit(CommitOutcome.COMMITTED if done else CommitOutcome.NOT_COMMITTED)
            if done:  # else the group has moved on, and the next owner reads again
                for task in tasks:
                    task.confirm(offsets[task.partition])
            return done

    async def save_progress(self, task: PartitionTask, now_ms: int) -> None:
        """Raise the stored progress of a partition to what its task made durable."""
        task.stored = await self._progress.advance(
            task.partition, task.stored, task.progress(now_ms)
        )
