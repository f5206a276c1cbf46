"""The rules, each left out once: production code is patched, and the model must notice.

A variant takes one rule away, as a version of ours might that had never heard of it, together
with whatever else of our code would refuse the result: what has to notice is the model.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from poste_restante import item, mailboxes, position, reading
from poste_restante.errors import MailboxError
from poste_restante.mailboxes import Mailboxes
from poste_restante.message import Message
from poste_restante.position import CURSOR_KEY, BundleKey, LogId
from poste_restante.reading import Reading
from poste_restante.receipt import Reach, Receipt, Receipts
from poste_restante.store import Store as ReaderStore
from worker import bundles, flush, lives, operations, opening, resume
from worker.bundles import Bundle
from worker.flush import Flusher
from worker.lives import Assignment, Life, RecordBatch
from worker.progress import DynamoDBProgress, Progress
from worker.resume import LogState, Opening
from worker.transport import BatchConsumer

Variant = Callable[[], Any]
VARIANTS: dict[str, Variant] = {}


def variant(broken: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
    """Registers a broken rule under its function's name."""
    VARIANTS[broken.__name__] = contextmanager(broken)
    return broken


# ---- bundles and their keys


@variant
def bundles_cross_window_borders() -> Iterator[None]:
    def possible(key: BundleKey) -> bool:
        return key.first <= key.last

    with (
        patch.object(bundles, "window_start", lambda offset: 0),
        patch.object(BundleKey, "is_possible", possible),
    ):
        yield


@variant
def keys_sort_by_first() -> Iterator[None]:
    decode = BundleKey.decode

    def swapped(key: BundleKey) -> str:
        return f"{key.log.encode()}.{key.first:019}.{key.last:019}"

    def back(text: str) -> BundleKey:
        epoch, partition, first, last = map(int, text.split("."))
        return decode(f"{epoch:04}.{partition:05}.{last:019}.{first:019}")

    with patch.object(BundleKey, "encode", swapped), patch.object(BundleKey, "decode", back):
        yield


@variant
def keys_do_not_tell_first() -> Iterator[None]:
    """Two bundles with one key and other contents: a replay takes messages away."""
    whole = item.bundle_key

    def last_alone(messages: Sequence[Message]) -> BundleKey:
        key = whole(messages)
        return key._replace(first=key.last)

    with patch.object(item, "bundle_key", last_alone):
        yield


@variant
def keys_do_not_tell_the_epoch() -> Iterator[None]:
    with patch.object(Life, "epoch", property(lambda _: 1)):
        yield


# ---- the flush


@variant
def waves_are_written_together() -> Iterator[None]:
    pack = flush.pack

    def together(messages: Iterable[Message], limits: Any) -> list[list[Bundle]]:
        return [[bundle for wave in pack(messages, limits) for bundle in wave]]

    with patch.object(flush, "pack", together):
        yield


@variant
def next_wave_before_the_split_is_over() -> Iterator[None]:
    """A rejected bundle is split when all waves have been written."""
    whole = Flusher.flush
    left: list[tuple[Any, Any]] = []
    split = flush._Writing._split

    async def later(writing: Any, rejected: Any) -> None:
        left.append((writing, rejected))

    async def flushed(flusher: Flusher, *args: Any, **kwargs: Any) -> Any:
        done = await whole(flusher, *args, **kwargs)
        while left:
            await split(*left.pop(0))
        return done

    with (
        patch.object(flush._Writing, "_split", later),
        patch.object(Flusher, "flush", flushed),
    ):
        yield


@variant
def halves_in_any_order() -> Iterator[None]:
    halves = Bundle.halves
    with patch.object(Bundle, "halves", lambda bundle: halves(bundle)[::-1]):
        yield


@variant
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


@variant
def two_flushes_of_a_partition_at_a_time() -> Iterator[None]:
    cut, settle = Life.cut, Life.settle

    def at_once(life: Life, *args: Any) -> RecordBatch | None:
        life.in_work = None
        return cut(life, *args)

    def settled(life: Life, batch: RecordBatch) -> None:
        life.in_work = batch
        settle(life, batch)

    with patch.object(Life, "cut", at_once), patch.object(Life, "settle", settled):
        yield


@variant
def a_life_goes_on_after_a_failed_flush() -> Iterator[None]:
    settled = Assignment.settled

    def forgiven(assignment: Assignment, batch: RecordBatch, cause: Any) -> None:
        if cause is not None and not assignment.ended:
            batch.life.in_work = None
            del assignment._tasks[batch]
            return
        settled(assignment, batch, cause)

    with patch.object(Assignment, "settled", forgiven):
        yield


# ---- progress


@variant
def progress_of_what_is_not_durable() -> Iterator[None]:
    progress = Life.progress

    def ahead(life: Life, now_ms: int) -> Progress:
        return replace(progress(life, now_ms), next=life.fetched)

    with patch.object(Life, "progress", ahead):
        yield


@variant
def progress_goes_down() -> Iterator[None]:
    async def advance(
        store: DynamoDBProgress, partition: int, seen: Progress, new: Progress
    ) -> Progress:
        stored = store._ours(partition, await store.read(partition), seen)
        moved = replace(new, origin=stored.origin)
        await store.move(partition, stored, moved)
        return moved

    with patch.object(DynamoDBProgress, "advance", advance):
        yield


@variant
def progress_of_another_epoch_is_raised() -> Iterator[None]:
    """A zombie of the topic's first life raises the progress of its second."""

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


# ---- where a life begins


def _raw(wanted: int, progress: Progress, log: LogState) -> int:
    return min(max(wanted, log.start, progress.origin), progress.next)


@variant
def a_life_begins_between_borders() -> Iterator[None]:
    """A lower offset of the group is taken as it is."""
    plan = resume.plan_resume

    def planned(**asked: Any) -> Any:
        with patch.object(resume, "_rounded_down", _raw):
            return plan(**asked)

    with patch.object(opening, "plan_resume", planned):
        yield


@variant
def a_rewind_is_not_rounded() -> Iterator[None]:
    plan = resume.plan_rewind

    def planned(**asked: Any) -> Progress:
        with patch.object(resume, "_rounded_down", _raw):
            return plan(**asked)

    with patch.object(operations, "plan_rewind", planned):
        yield


@variant
def a_border_that_retention_ate_is_no_matter() -> Iterator[None]:
    """The life begins at the log's start instead of the next border."""

    def begun(wanted: int, progress: Progress, log: LogState) -> int:
        at = max(resume.window_start(wanted), progress.origin, log.start)
        return min(at, progress.next)

    with patch.object(resume, "_rounded_down", begun):
        yield


@variant
def a_life_begins_below_the_origin() -> Iterator[None]:
    rounded = resume._rounded_down

    def begun(wanted: int, progress: Progress, log: LogState) -> int:
        return rounded(wanted, replace(progress, origin=0), log)

    with patch.object(resume, "_rounded_down", begun):
        yield


@variant
def a_skip_leaves_the_origin() -> Iterator[None]:
    plan = resume.plan_skip

    def planned(*, progress: Progress, **asked: Any) -> Progress:
        return replace(plan(progress=progress, **asked), origin=progress.origin)

    with patch.object(operations, "plan_skip", planned):
        yield


@variant
def the_group_is_followed_forward() -> Iterator[None]:
    plan = resume.plan_resume

    def planned(*, progress: Progress, group: int | None, log: LogState, **asked: Any) -> Any:
        planned = plan(progress=progress, group=group, log=log, **asked)
        if isinstance(planned, Opening) and group and progress.next < group <= log.end:
            return Opening(group, progress)
        return planned

    with patch.object(opening, "plan_resume", planned):
        yield


@variant
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


@variant
def a_jump_over_retention_is_gone_on_from() -> Iterator[None]:
    async def follows(consumer: Any, life: Life, records: Sequence[Any]) -> bool:
        return True

    with patch.object(BatchConsumer, "_follows", follows):
        yield


# ---- reading


@variant
def what_was_passed_is_not_dropped() -> Iterator[None]:
    reach = Reading._reach
    take = Reading._take

    def taken(page: Reading, message: Message) -> bool:
        def nothing(page: Reading, log: LogId) -> Reach:
            return replace(reach(page, log), passed=-1)

        if message.position.offset > page.cursor.get(message.position.log, -1):
            log = message.position.log
            before = page._logs.get(log)
            page._logs[log] = replace(reach(page, log), passed=-1)
            done = take(page, message)
            if before is not None and before.passed > page._logs[log].passed:
                page._logs[log] = before
            return done
        return take(page, message)

    with patch.object(Reading, "_take", taken):
        yield


@variant
def the_cursor_is_not_read_again() -> Iterator[None]:
    """Behind a receipt, what another device acknowledged meanwhile is shown again."""
    cursor = mailboxes._cursor

    def once(items: Sequence[Any]) -> Any:
        return {} if len(items) == 1 else cursor(items)

    with patch.object(mailboxes, "_cursor", once):
        yield


@variant
def a_page_goes_on_behind_a_cut_bundle() -> Iterator[None]:
    add = Reading._add

    def added(page: Reading, text: str, one: Any) -> None:
        add(page, text, one)
        if page.more and page.unreadable is None and page.messages:
            key = BundleKey.decode(text)
            page._boundary = max(page._boundary, key.log.after(key.last))

    with patch.object(Reading, "_add", added):
        yield


@variant
def a_cut_bundle_counts_as_passed() -> Iterator[None]:
    add = Reading._add

    def added(page: Reading, text: str, one: Any) -> None:
        add(page, text, one)
        if page.more and page.unreadable is None and page.messages:
            page._pass_whole(BundleKey.decode(text))

    with patch.object(Reading, "_add", added):
        yield


@variant
def resends_of_what_was_acknowledged_are_dropped() -> Iterator[None]:
    """Deduplication before the cursor, and not last."""
    take = Reading._take

    def taken(page: Reading, message: Message) -> bool:
        done = take(page, message)
        known = reading._identity(message)
        if known is not None:
            page._seen.add(known)
        return done

    with patch.object(Reading, "_take", taken):
        yield


@variant
def resends_are_shown() -> Iterator[None]:
    with patch.object(reading, "_identity", lambda message: None):
        yield


# ---- acknowledging


@contextmanager
def _receipts_unchecked() -> Iterator[None]:
    """Receipts that are believed, whatever they list."""
    issued: list[Receipt] = []

    def encode(_: Receipts, receipt: Receipt, **of: Any) -> str:
        issued.append(receipt)
        return str(len(issued) - 1)

    def decode(_: Receipts, token: str, **of: Any) -> Receipt:
        return issued[int(token)]

    with patch.object(Receipts, "encode", encode), patch.object(Receipts, "decode", decode):
        yield


@variant
def cut_bundles_are_listed_for_deletion() -> Iterator[None]:
    add = Reading._add

    def added(page: Reading, text: str, one: Any) -> None:
        add(page, text, one)
        if page.more and page.unreadable is None:
            page._bundles.append(BundleKey.decode(text))

    with _receipts_unchecked(), patch.object(Reading, "_add", added):
        yield


@variant
def bundles_are_deleted_before_the_cursor_is_raised() -> Iterator[None]:
    whole = Mailboxes.ack

    async def ack(office: Mailboxes, user_id: str, receipt: str | None) -> None:
        record = await office._watch.record()
        assert receipt is not None
        found = office._receipts.decode(receipt, table_id=record.table_id, user_id=user_id)
        await office._store.delete(position.mailbox_key(user_id), found.bundles)
        await whole(office, user_id, receipt)

    with patch.object(Mailboxes, "ack", ack):
        yield


@variant
def bundles_are_deleted_though_the_cursor_was_not_raised() -> Iterator[None]:
    raised = ReaderStore.raise_cursor

    async def tried(store: ReaderStore, *args: Any) -> None:
        try:
            await raised(store, *args)
        except MailboxError:
            pass

    with patch.object(ReaderStore, "raise_cursor", tried):
        yield


@variant
def the_cursor_goes_down() -> Iterator[None]:
    async def put(store: ReaderStore, key: str, log: LogId, offset: int) -> None:
        await store._client.update_item(
            TableName=store._table,
            Key={"user_id": {"S": key}, "position": {"S": CURSOR_KEY}},
            UpdateExpression="SET #log = :offset",
            ExpressionAttributeNames={"#log": log.encode()},
            ExpressionAttributeValues={":offset": {"N": str(offset)}},
        )

    with patch.object(ReaderStore, "raise_cursor", put):
        yield


@dataclass(frozen=True)
class _Unused:
    """Names that variants are typed with."""

    logs: Mapping[LogId, Reach]


__all__ = ["VARIANTS", "lives"]
