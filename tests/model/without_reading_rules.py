"""The rules of reading and acknowledging, each left out once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from poste_restante import mailboxes, position, reading
from poste_restante.errors import MailboxError
from poste_restante.mailboxes import Mailboxes
from poste_restante.message import Message
from poste_restante.position import CURSOR_KEY, BundleKey, LogId
from poste_restante.reading import Reading
from poste_restante.receipt import Receipt, Receipts
from poste_restante.store import Store as ReaderStore
from poste_restante.store import translated
from tests.model import profiles
from tests.model.variants import variant

# ---- reading


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


@variant(profiles.PAGES, 15, "PAGE", "PAGE-SKIPS")
def keys_sort_by_first() -> Iterator[None]:
    decode = BundleKey.decode

    def swapped(key: BundleKey) -> str:
        return f"{key.log.encode()}.{key.first:019}.{key.last:019}"

    def back(text: str) -> BundleKey:
        epoch, partition, first, last = map(int, text.split("."))
        return decode(f"{epoch:04}.{partition:05}.{last:019}.{first:019}")

    def prefix(log: LogId, offset: int) -> str:
        return f"{log.encode()}."  # an offset does not tell the key that it stands in

    def added(page: Reading, text: str, one: Any) -> None:
        add(page, text, one)
        if not page.more:  # a page goes on behind the last key that was read to its end
            page._boundary = max(page._boundary, text)

    add = Reading._add
    with (
        _receipts_unchecked(),
        patch.object(BundleKey, "encode", swapped),
        patch.object(BundleKey, "decode", back),
        patch.object(LogId, "after", prefix),
        patch.object(Reading, "_add", added),
    ):
        yield


@variant(profiles.EVERYTHING, 0, "TWICE", "PAGE")
def what_was_passed_is_not_dropped() -> Iterator[None]:
    reach = Reading._reach
    take = Reading._take

    def taken(page: Reading, messages: Sequence[Message], log: LogId) -> bool:
        before = page._logs.get(log)
        page._logs[log] = replace(reach(page, log), passed=-1)
        done = take(page, messages, log)
        if before is not None and before.passed > page._logs[log].passed:
            page._logs[log] = before
        return done

    with patch.object(Reading, "_take", taken):
        yield


@variant(profiles.EVERYTHING, 0, "ECHO", "PAGE")
def the_cursor_is_not_read_again() -> Iterator[None]:
    """Behind a receipt, what another device acknowledged meanwhile is shown again."""
    cursor = mailboxes._cursor

    def once(items: Sequence[Any]) -> Any:
        return {} if len(items) == 1 else cursor(items)

    with patch.object(mailboxes, "_cursor", once):
        yield


@variant(profiles.EVERYTHING, 0, "PAGE-SKIPS", "PAGE")
def a_page_goes_on_behind_a_cut_bundle() -> Iterator[None]:
    add = Reading._add

    def added(page: Reading, text: str, one: Any) -> None:
        add(page, text, one)
        if page.more and page.unreadable is None and page.messages:
            key = BundleKey.decode(text)
            page._boundary = max(page._boundary, key.log.after(key.last))

    with patch.object(Reading, "_add", added):
        yield


@variant(profiles.EVERYTHING, 0, "PAGE-SKIPS")
def a_cut_bundle_counts_as_passed() -> Iterator[None]:
    add = Reading._add

    def added(page: Reading, text: str, one: Any) -> None:
        add(page, text, one)
        if page.more and page.unreadable is None and page.messages:
            page._pass_whole(BundleKey.decode(text))

    with patch.object(Reading, "_add", added):
        yield


@variant(profiles.PAGES, 14, "PAGE-SKIPS", "PAGE")
def resends_of_what_was_acknowledged_are_dropped() -> Iterator[None]:
    """Deduplication before the cursor, and not last."""
    take = Reading._take

    def taken(page: Reading, messages: Sequence[Message], log: LogId) -> bool:
        for message in messages:
            done = take(page, [message], log)
            known = reading._identity(message)
            if known is not None:
                page._seen.add(known)
            if not done:
                return False
        return True

    with patch.object(Reading, "_take", taken):
        yield


@variant(profiles.EVERYTHING, 3, "DOUBLE", "PAGE")
def resends_are_shown() -> Iterator[None]:
    with patch.object(reading, "_identity", lambda message: None):
        yield


# ---- acknowledging


@variant(profiles.EVERYTHING, 0, "LOST", "HOLE", "VANISHED")
def cut_bundles_are_listed_for_deletion() -> Iterator[None]:
    add = Reading._add

    def added(page: Reading, text: str, one: Any) -> None:
        add(page, text, one)
        if page.more and page.unreadable is None:
            page._bundles.append(BundleKey.decode(text))

    with _receipts_unchecked(), patch.object(Reading, "_add", added):
        yield


@variant(profiles.EVERYTHING, 0, "LOST", "HOLE", "VANISHED")
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


@variant(profiles.FAILURES, 5, "LOST", "HOLE", "VANISHED")
def bundles_are_deleted_though_the_cursor_was_not_raised() -> Iterator[None]:
    raised = ReaderStore.raise_cursor

    async def tried(store: ReaderStore, *args: Any) -> None:
        with suppress(MailboxError):
            await raised(store, *args)

    with patch.object(ReaderStore, "raise_cursor", tried):
        yield


@variant(profiles.EVERYTHING, 0, "CURSOR-BACK")
def the_cursor_goes_down() -> Iterator[None]:
    async def put(store: ReaderStore, key: str, log: LogId, offset: int) -> None:
        update = store._client.update_item(
            TableName=store._table,
            Key={"user_id": {"S": key}, "position": {"S": CURSOR_KEY}},
            UpdateExpression="SET #log = :offset",
            ExpressionAttributeNames={"#log": log.encode()},
            ExpressionAttributeValues={":offset": {"N": str(offset)}},
        )
        await translated(update, store._table)

    with patch.object(ReaderStore, "raise_cursor", put):
        yield
