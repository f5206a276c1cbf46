"""The committer: progress of what is durable, then the group's offsets."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.test_consumer import Saved, flushed
from tests.unit.test_opening import progress
from worker.assignment import Assignment, PartitionTask
from worker.committer import Committer
from worker.outcomes import CommitOutcome
from worker.progress import Progress


class Commits:
    """A committer, its current assignment, and the order of what it writes."""

    def __init__(self, *stored: Progress) -> None:
        self.order: list[Any] = []
        self.store = Saved(self.order, *stored)
        self.group_takes = True
        self.current = Assignment()
        self.outcomes: list[CommitOutcome] = []
        self._committer = Committer(
            self.store, self._commit_offsets, on_commit=self.outcomes.append
        )

    async def _commit_offsets(self, offsets: Mapping[int, int]) -> bool:
        self.order += [("group", partition, offset) for partition, offset in offsets.items()]
        return self.group_takes

    def assign(self, *positions: int) -> list[PartitionTask]:
        self.current = Assignment(range(len(positions)))
        return [
            self.current.open(partition, position, self.store.stored[partition])  # type: ignore[arg-type]
            for partition, position in enumerate(positions)
        ]

    async def commit(self) -> bool:
        return await self._committer.commit(lambda: self.current)


@pytest.fixture
def commits() -> Commits:
    return Commits(progress(40), progress(50))


async def test_a_commit_saves_progress_before_the_groups_offset(commits: Commits) -> None:
    """So that the group is never ahead of progress, which an opening would not follow (G1)."""
    tasks = commits.assign(40, 50)
    flushed(tasks[0], 40, 41)
    flushed(tasks[1], 50)

    assert await commits.commit()
    saved, committed = commits.order[:2], commits.order[2:]
    assert sorted(saved) == [("progress", 0, 42), ("progress", 1, 51)]
    assert sorted(committed) == [("group", 0, 42), ("group", 1, 51)]
    assert not await commits.commit()
    assert tasks[0].progress(1).group == 42


async def test_a_commit_is_counted_by_its_outcome_and_an_empty_one_is_not(
    commits: Commits,
) -> None:
    (task, _) = commits.assign(40, 50)
    await commits.commit()
    assert commits.outcomes == []

    flushed(task, 40)
    await commits.commit()
    commits.group_takes = False
    flushed(task, 41)
    await commits.commit()
    assert commits.outcomes == [CommitOutcome.COMMITTED, CommitOutcome.NOT_COMMITTED]


async def test_a_replay_commits_what_it_made_durable_not_stored_progress(commits: Commits) -> None:
    """The group's offset of a replay is below progress, or a crash would end the replay (G1)."""
    (task, _) = commits.assign(10, 50)
    flushed(task, 10, 11)

    assert await commits.commit()
    assert commits.order == [("progress", 0, 12), ("group", 0, 12)]
    assert commits.store.stored[0] == progress(40)


async def test_a_group_behind_is_brought_to_progress_without_a_record(commits: Commits) -> None:
    """Kafka's own lag is right though nothing comes any more (G1)."""
    commits.current = Assignment([0])
    commits.current.open(0, 40, progress(40), committed=35)

    assert await commits.commit()
    assert commits.order == [("progress", 0, 40), ("group", 0, 40)]
    assert not await commits.commit()


async def test_a_replaced_table_stops_the_commit(commits: Commits) -> None:
    """Nothing is committed for a table that is not the one that was written (G1)."""
    (task, _) = commits.assign(40, 50)
    flushed(task, 40)
    commits.store.stored[0] = progress(40, table_id="another")

    with pytest.raises(ExceptionGroup):
        await commits.commit()
    assert [kind for kind, *_ in commits.order] == ["progress"]


async def test_an_assignment_that_ended_meanwhile_commits_nothing(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition that went to another worker while its progress was written is not committed;
    neither is anything after a failed flush (G1)."""
    (task, _) = commits.assign(40, 50)
    flushed(task, 40)
    advance = commits.store.advance

    async def revoked_meanwhile(partition: int, seen: Progress, new: Progress) -> Progress:
        commits.current = Assignment()
        return await advance(partition, seen, new)

    monkeypatch.setattr(commits.store, "advance", revoked_meanwhile)
    assert not await commits.commit()
    assert commits.order == [("progress", 0, 41)]

    (task, _) = commits.assign(41, 50)
    flushed(task, 41)
    task.assignment.broken = ValueError("a flush failed")
    assert not await commits.commit()
    assert commits.order == [("progress", 0, 41)]


async def test_a_commit_that_the_group_refused_is_not_confirmed(commits: Commits) -> None:
    """What the group has not taken is committed again, and not stored as confirmed (G1)."""
    (task, _) = commits.assign(40, 50)
    flushed(task, 40)
    commits.group_takes = False

    assert not await commits.commit()
    assert task.progress(1).group is None
    assert task.assignment.to_commit() == [task]
