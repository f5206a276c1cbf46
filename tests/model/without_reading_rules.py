"""The rules of reading and acknowledging, each left out once."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from poste_restante import mailboxes, position, reading, tidying
from poste_restante.devices import Cursors, EffectiveCursor
from poste_restante.errors import MailboxError
from poste_restante.item import Item
from poste_restante.mailboxes import Mailboxes, Page
from poste_restante.message import Message
from poste_restante.position import CURSOR_KEY, BundleKey, LogId
from poste_restante.reading import Reading
from poste_restante.receipt import Reach, Receipt, Receipts
from poste_restante.store import Store as ReaderStore
from poste_restante.store import translated
from poste_restante.table import Cursor, decode_cursor
from poste_restante.tidying import Tidying
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


@variant(profiles.PAGES, 7, "PAGE", "PAGE-SKIPS")
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
        patch.object(Reading, "skip", lambda page, last: None),
    ):
        yield


@variant(profiles.EVERYTHING, 0, "TWICE", "PAGE")
def what_was_passed_is_not_dropped() -> Iterator[None]:
    reach = Reading._reach
    take = Reading._take

    def taken(page: Reading, messages: Sequence[Message], log: LogId) -> bool:
        before = page._logs.get(log)
        page._logs[log] = replace(reach(page, log), read_to=-1)
        done = take(page, messages, log)
        if before is not None and before.read_to > page._logs[log].read_to:
            page._logs[log] = before
        return done

    with patch.object(Reading, "_take", taken):
        yield


@variant(profiles.EVERYTHING, 0, "ECHO", "PAGE")
def the_cursor_is_not_read_again() -> Iterator[None]:
    """Behind a receipt, what another gateway acknowledged meanwhile is shown again."""

    async def unread(_: Cursors, key: str, device: str | None) -> EffectiveCursor:
        return EffectiveCursor({}, inherited=device is not None)

    with patch.object(Cursors, "read", unread):
        yield


@variant(profiles.PAGES, 0, "PAGE-SKIPS", "PAGE")
def the_scan_skips_one_step_too_far() -> Iterator[None]:
    skip = Reading.skip

    def too_far(page: Reading, last: str) -> str | None:
        above = skip(page, last)
        hidden = page._hidden(last)
        return above if hidden is None else hidden.log.after(page._floors[hidden.log] + 1)

    with patch.object(Reading, "skip", too_far):
        yield


@variant(profiles.DEVICES, 0, "ECHO", "PAGE", "TWICE")
def a_receipt_that_is_kept_counts_for_nothing() -> Iterator[None]:
    init = Reading.__post_init__

    def forgets(page: Reading) -> None:
        kept, page.since = page.since, None
        init(page)
        page.since = kept

    with patch.object(Reading, "__post_init__", forgets):
        yield


@variant(profiles.DEVICES, 0, "PAGE", "PAGE-SKIPS")
def a_devices_cursor_does_not_count_alone() -> Iterator[None]:
    """What the account has acknowledged is hidden from it."""
    init = Mailboxes.__init__

    def initialised(mailbox_table: Mailboxes, *args: Any, **kwargs: Any) -> None:
        init(mailbox_table, *args, **kwargs)
        fetch = mailbox_table._fetch

        async def fetched(wanted: Any, *, keep: bool) -> Page:
            account = (await mailbox_table._cursors.read(wanted.key, None)).offsets

            def both(*args: Any, **kwargs: Any) -> Reading:
                for log, offset in account.items():
                    kwargs["cursor"][log] = max(offset, kwargs["cursor"].get(log, -1))
                return Reading(*args, **kwargs)

            with patch.object(mailboxes, "Reading", both):
                return await fetch(wanted, keep=keep)

        mailbox_table._fetch = fetched  # type: ignore[method-assign]

    with patch.object(Mailboxes, "__init__", initialised):
        yield


@variant(profiles.DEVICES, 0, "ECHO", "PAGE")
def a_device_without_a_cursor_reads_from_the_beginning() -> Iterator[None]:
    read = Cursors.read

    async def own(cursors: Cursors, key: str, device: str | None) -> EffectiveCursor:
        items = (await cursors._store.query(key, only=position.cursor_key(device))).items
        if items and device is not None:
            return await read(cursors, key, device)
        return EffectiveCursor({}, inherited=device is not None)

    with patch.object(Cursors, "read", own):
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


@variant(profiles.EVERYTHING, 0, "CURSOR-BACK")
def the_cursor_goes_down() -> Iterator[None]:
    async def put(
        store: ReaderStore, key: str, cursor: str, log: LogId, offset: int, **_: Any
    ) -> None:
        update = store._client.update_item(
            TableName=store._table,
            Key={"user_id": {"S": key}, "position": {"S": cursor}},
            UpdateExpression="SET #log = :offset",
            ExpressionAttributeNames={"#log": log.encode()},
            ExpressionAttributeValues={":offset": {"N": str(offset)}},
        )
        await translated(update, store._table)

    with patch.object(ReaderStore, "raise_cursor", put):
        yield


# ---- devices


@variant(profiles.DEVICES, 0, "ACK-COVERS-UNRETURNED")
def a_device_acknowledges_for_the_account() -> Iterator[None]:
    raise_to = Cursors.raise_to

    async def both(cursors: Cursors, key: str, device: str | None, logs: Any) -> None:
        await raise_to(cursors, key, device, logs)
        await raise_to(cursors, key, None, logs)

    with patch.object(Cursors, "raise_to", both):
        yield


@variant(profiles.DEVICES, 75, "CURSOR-PART")
def a_devices_cursor_begins_with_what_it_was_returned() -> Iterator[None]:
    """Of other logs, what the account had acknowledged comes back."""
    raise_to = Cursors.raise_to

    async def without_inherited(
        cursors: Cursors, key: str, device: str | None, logs: dict[LogId, Reach]
    ) -> None:
        new = {log: replace(reach, inherited_to=-1) for log, reach in logs.items()}
        await raise_to(cursors, key, device, new)

    with patch.object(Cursors, "raise_to", without_inherited):
        yield


@variant(profiles.DEVICES, 0, "CURSOR-PART")
def a_devices_cursor_appears_log_by_log() -> Iterator[None]:
    raised = ReaderStore.raise_cursor

    async def anyway(
        store: ReaderStore, key: str, cursor: str, log: LogId, offset: int, **_: Any
    ) -> None:
        await raised(store, key, cursor, log, offset)

    with patch.object(ReaderStore, "raise_cursor", anyway):
        yield


@variant(profiles.DEVICES, 0, "CURSOR-PART")
def a_devices_cursor_begins_where_the_account_stands_now() -> Iterator[None]:
    """What the account acknowledged since the device's page is hidden from it."""
    create = ReaderStore.create_cursor

    async def now(store: ReaderStore, key: str, cursor: str, offsets: Mapping[LogId, int]) -> bool:
        account = (await Cursors(store).read(key, None)).offsets
        later = {log: max(offset, account.get(log, -1)) for log, offset in offsets.items()}
        return await create(store, key, cursor, later)

    with patch.object(ReaderStore, "create_cursor", now):
        yield


@variant(profiles.DEVICES, 130, "CARRIED")
def what_is_inherited_is_acknowledged() -> Iterator[None]:
    """From a device that was added since, what the account had acknowledged is hidden."""
    raise_to = Cursors.raise_to

    async def with_inherited(
        cursors: Cursors, key: str, device: str | None, logs: dict[LogId, Reach]
    ) -> None:
        new = {
            log: replace(
                reach,
                ackable_to=reach.cursor_begins_at,
                carried=reach.carried and reach.inherited_to < 0,
            )
            for log, reach in logs.items()
        }
        await raise_to(cursors, key, device, new)

    with patch.object(Cursors, "raise_to", with_inherited):
        yield


@variant(profiles.DEVICES, 0, "FORGOTTEN", "CURSOR-PART")
def what_the_account_has_is_taken_for_a_devices_own() -> Iterator[None]:
    """An account that is ahead of a page leaves nothing of it to acknowledge, though the device's
    cursor is made below it meanwhile."""
    init = Reading.__post_init__

    def taken(page: Reading) -> None:
        page.inherited = False
        init(page)

    with patch.object(Reading, "__post_init__", taken):
        yield


@variant(profiles.DEVICES, 0, "CURSOR-BACK", "ACK-COVERS-UNRETURNED")
def a_device_that_is_there_is_added_again() -> Iterator[None]:
    async def overwrite(
        store: ReaderStore, key: str, cursor: str, offsets: Mapping[LogId, int]
    ) -> bool:
        item = {"user_id": {"S": key}, "position": {"S": cursor}}
        logs = {log.encode(): {"N": str(offset)} for log, offset in offsets.items()}
        put = store._client.put_item(TableName=store._table, Item=item | logs)
        await translated(put, store._table)
        return True

    with patch.object(ReaderStore, "create_cursor", overwrite):
        yield


# ---- deleting what was acknowledged


@variant(profiles.DELETING, 0, "DELETED")
def bundles_that_are_half_acknowledged_are_deleted() -> Iterator[None]:
    async def find(tidying: Tidying, key: str, log: LogId, offset: int, most: int) -> Sequence[str]:
        found = await tidying._store.query(
            key, begin=log.head, up_to=log.after(position.OFFSET_MAX), limit=most, keys_only=True
        )
        keys = [BundleKey.decode(item["position"]["S"]) for item in found.items]
        return [bundle.encode() for bundle in keys if bundle.first <= offset]

    with patch.object(Tidying, "_find", find):
        yield


@variant(profiles.DELETING, 0, "DELETED")
def what_a_device_has_not_passed_is_deleted() -> Iterator[None]:
    passed_by_all = tidying.passed_by_all

    def by_the_account(cursors: Sequence[Item]) -> Cursor:
        return passed_by_all([i for i in cursors if i["position"]["S"] == CURSOR_KEY])

    with patch.object(tidying, "passed_by_all", by_the_account):
        yield


@variant(profiles.DELETING, 0, "DELETED")
def a_log_that_a_cursor_does_not_name_counts_as_passed() -> Iterator[None]:
    def lenient(cursors: Sequence[Item]) -> Cursor:
        found = [decode_cursor(item) for item in cursors]
        logs = set().union(*found)
        return {log: min(c[log] for c in found if log in c) for log in logs}

    with patch.object(tidying, "passed_by_all", lenient):
        yield


@variant(profiles.DELETING, 0, "DELETED")
def bundles_are_deleted_before_the_cursor_is_raised() -> Iterator[None]:
    raise_to = Cursors.raise_to

    async def before(
        cursors: Cursors, key: str, device: str | None, logs: dict[LogId, Reach]
    ) -> None:
        deleting = Tidying(cursors._store, cursors)
        await deleting.delete(key, {log: reach.ackable_to for log, reach in logs.items()})
        await raise_to(cursors, key, device, logs)

    with patch.object(Cursors, "raise_to", before):
        yield


@variant(profiles.DELETING, 0, "DELETED")
def bundles_are_deleted_though_the_cursor_was_not_raised() -> Iterator[None]:
    raised, passed = Cursors.raise_to, Tidying._passed
    wanted: dict[str, dict[LogId, int]] = {}

    async def tried(
        cursors: Cursors, key: str, device: str | None, logs: dict[LogId, Reach]
    ) -> None:
        if device is None:
            wanted[key] = {log: reach.ackable_to for log, reach in logs.items()}
        with suppress(MailboxError):
            await raised(cursors, key, device, logs)

    async def believed(deleting: Tidying, key: str) -> Cursor:
        return await passed(deleting, key) | wanted.get(key, {})

    with (
        patch.object(Cursors, "raise_to", tried),
        patch.object(Tidying, "_passed", believed),
    ):
        yield
