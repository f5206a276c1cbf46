"""The rules of writing, each left out once: bundles and the flush."""

from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

from poste_restante.position import OFFSET_MAX, BundleKey
from tests.model import profiles
from tests.model.variants import variant
from worker import bundles, flush
from worker.assignment import Assignment, PartitionTask, RecordBatch
from worker.bundles import Bundle
from worker.entry import Entry
from worker.flush import Flusher, WaveWriter
from worker.mailbox_writer import Rejected

# ---- bundles and their keys


@variant(profiles.REPLAYS, 26, "LOST", "HOLE")
def bundles_cross_window_borders() -> Iterator[None]:
    def possible(key: BundleKey) -> bool:
        return key.first <= key.last

    with (
        patch.object(bundles, "window_end", lambda offset: OFFSET_MAX),
        patch.object(BundleKey, "is_possible", possible),
    ):
        yield


@variant(profiles.BEGINNINGS, 2, "FOREIGN", "LOST", "HOLE", "HIDDEN")
def keys_do_not_tell_the_epoch() -> Iterator[None]:
    with patch.object(PartitionTask, "epoch", property(lambda _: 1)):
        yield


# ---- the flush


@variant(profiles.EVERYTHING, 0, "HOLE", "LOST", "PAGE-SKIPS")
def waves_are_written_together() -> Iterator[None]:
    pack = bundles.pack

    def together(entries: Sequence[Entry], log: Any, limits: Any) -> list[list[Bundle]]:
        return [[bundle for wave in pack(entries, log, limits) for bundle in wave]]

    with patch.object(flush, "pack", together):
        yield


@variant(profiles.EVERYTHING, 7, "HOLE", "LOST")
def next_wave_before_the_split_is_over() -> Iterator[None]:
    """A rejected bundle is split when all waves have been written."""
    whole = Flusher.flush
    left: list[tuple[WaveWriter, Rejected]] = []
    split = WaveWriter.split

    async def later(writing: WaveWriter, rejected: Rejected) -> None:
        left.append((writing, rejected))

    async def flushed(flusher: Flusher, *args: Any, **kwargs: Any) -> Any:
        done = await whole(flusher, *args, **kwargs)
        while left:
            await split(*left.pop(0))
        return done

    with (
        patch.object(WaveWriter, "split", later),
        patch.object(Flusher, "flush", flushed),
    ):
        yield


@variant(profiles.EVERYTHING, 19, "HOLE", "LOST")
def halves_in_any_order() -> Iterator[None]:
    halves = Bundle.halves
    with patch.object(Bundle, "halves", lambda bundle: halves(bundle)[::-1]):
        yield


@variant(profiles.EVERYTHING, 2, "HOLE", "LOST")
def dead_letters_after_the_messages() -> Iterator[None]:
    whole = Flusher.flush

    async def flushed(flusher: Flusher, *args: Any, **kwargs: Any) -> Any:
        sink = flusher.dead_letters
        late: list[Any] = []

        class Later:
            async def send(self, letters: Sequence[Any]) -> None:
                late.extend(letters)

        flusher.dead_letters = Later()
        try:
            done = await whole(flusher, *args, **kwargs)
        finally:
            flusher.dead_letters = sink
        await sink.send(late)
        return done

    with patch.object(Flusher, "flush", flushed):
        yield


@variant(profiles.EVERYTHING, 0, "HOLE", "LOST")
def two_flushes_of_a_partition_at_a_time() -> Iterator[None]:
    settle = PartitionTask.finish_flush
    whenever_something_waits = property(lambda task: bool(task.waiting))

    def settled(task: PartitionTask, batch: RecordBatch) -> None:
        task.in_work = batch
        settle(task, batch)

    with (
        patch.object(PartitionTask, "is_ready", whenever_something_waits),
        patch.object(PartitionTask, "finish_flush", settled),
    ):
        yield


@variant(profiles.FAILURES, 1, "HOLE", "LOST")
def a_task_continues_after_a_failed_flush() -> Iterator[None]:
    settled = Assignment.flush_finished

    def forgiven(assignment: Assignment, batch: RecordBatch, cause: Any) -> None:
        settled(assignment, batch, cause)
        if cause is not None and not assignment.ended:
            assignment.broken = batch.task.in_work = None

    with patch.object(Assignment, "flush_finished", forgiven):
        yield
