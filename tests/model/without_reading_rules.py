"""The rules of reading and acknowledging, each left out once."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from poste_restante import mailboxes, position, reading, tidying
from poste_restante.devices import Cursors, EffectiveCursor
from poste_restante.errors import MailboxError
from poste_restante.item import Item
from poste_restante.message import Message
from poste_restante.position import CURSOR_KEY, BundleKey, LogId
from poste_restante.reading import Reading, ReadingProgress
from poste_restante.receipt import LogReach, Receipt, Receipts
from poste_restante.store import DynamoDBMailboxStore
from poste_restante.table import Cursor, decode_cursor
from poste_restante.tidying import Tidying
from tests.model import profiles
from tests.model.variants import unconditional, variant

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


@variant(profiles.PAGES, 146, "PAGE", "PAGE-SKIPS")
def keys_sort_by_first() -> Iterator[None]:
    decode = BundleKey.decode

    def swapped(key: BundleKey) -> str:
        return f"{key.log.encode()}.{key.first:019}.{key.last:019}"

    def back(text: str) -> BundleKey:
        epoch, partition, first, last = map(int, text.split("."))
        return decode(f"{epoch:04}.{partition:05}.{last:019}.{first:019}")

    def prefix(log: LogId, offset: int) -> str:
        return f"{log.encode()}."  # an offset does not tell the key that it stands in

    with (
        _receipts_unchecked(),
        patch.object(BundleKey, "encode", swapped),
        patch.object(BundleKey, "decode", back),
        patch.object(LogId, "after", prefix),
        patch.object(Reading, "skip", lambda page, last: None),
    ):
        yield


@variant(profiles.EVERYTHING, 0, "TWICE", "PAGE")
def what_was_passed_is_not_dropped() -> Iterator[None]:
    """Unless all of its bundle was."""
    with patch.object(ReadingProgress, "read_to", lambda progress, log: -1):
        yield


@variant(profiles.EVERYTHING, 4, "ECHO", "PAGE")
def the_cursor_is_not_read_again() -> Iterator[None]:
    """Behind a receipt, what another gateway acknowledged meanwhile is shown again."""

    async def unread(_: Cursors, key: str, device: str | None) -> EffectiveCursor:
        return EffectiveCursor({}, inherited=device is not None)

    with patch.object(Cursors, "read", unread):
        yield


@variant(profiles.PAGES, 0, "PAGE-SKIPS", "PAGE")
def the_scan_skips_one_step_too_far() -> Iterator[None]:
    class TooFar(ReadingProgress):
        def skip_hidden(self, key: BundleKey) -> str | None:
            above = super().skip_hidden(key)
            return above and key.log.after(self.floors[key.log] + 1)

    with patch.object(reading, "ReadingProgress", TooFar):
        yield


@variant(profiles.DEVICES, 0, "ECHO", "PAGE", "TWICE")
def a_receipt_that_is_kept_counts_for_nothing() -> Iterator[None]:
    class Forgetful(ReadingProgress):
        def __init__(self, cursor: Cursor, *, since: Receipt | None, **more: Any) -> None:
            super().__init__(cursor, since=None, **more)

    with patch.object(reading, "ReadingProgress", Forgetful):
        yield


class _AlteredCursors(Cursors):
    """Cursors of which a reading is told something else."""

    async def altered(self, key: str, found: EffectiveCursor) -> EffectiveCursor:
        raise NotImplementedError

    async def read(self, key: str, device: str | None) -> EffectiveCursor:
        return await self.altered(key, await super().read(key, device))

    async def read_from(
        self, items: Sequence[Item], key: str, device: str | None
    ) -> EffectiveCursor:
        return await self.altered(key, await super().read_from(items, key, device))


@variant(profiles.DEVICES, 0, "PAGE", "PAGE-SKIPS")
def a_devices_cursor_does_not_count_alone() -> Iterator[None]:
    """What the account has acknowledged is hidden from it."""

    class Both(_AlteredCursors):
        async def altered(self, key: str, found: EffectiveCursor) -> EffectiveCursor:
            account = (await Cursors.read(self, key, None)).offsets
            offsets = {
                log: max(account.get(log, -1), found.offsets.get(log, -1))
                for log in {*account, *found.offsets}
            }
            return found._replace(offsets=offsets)

    with patch.object(mailboxes, "Cursors", Both):
        yield


@variant(profiles.DEVICES, 0, "ECHO", "PAGE")
def a_device_without_a_cursor_reads_from_the_beginning() -> Iterator[None]:
    class Own(_AlteredCursors):
        async def altered(self, key: str, found: EffectiveCursor) -> EffectiveCursor:
            return found._replace(offsets={}) if found.inherited else found

    with patch.object(mailboxes, "Cursors", Own):
        yield


@variant(profiles.EVERYTHING, 0, "PAGE-SKIPS", "PAGE")
def a_page_goes_on_behind_a_cut_bundle() -> Iterator[None]:
    class Behind(ReadingProgress):
        def stop_within(self, key: BundleKey) -> None:
            self.boundary = max(self.boundary, key.log.after(key.last))

    with patch.object(reading, "ReadingProgress", Behind):
        yield


@variant(profiles.EVERYTHING, 0, "PAGE-SKIPS")
def a_cut_bundle_counts_as_passed() -> Iterator[None]:
    class Whole(ReadingProgress):
        def stop_within(self, key: BundleKey) -> None:
            self.pass_bundle(key)

    with patch.object(reading, "ReadingProgress", Whole):
        yield


@variant(profiles.PAGES, 14, "PAGE-SKIPS", "PAGE")
def resends_of_what_was_acknowledged_are_dropped() -> Iterator[None]:
    """Deduplication before the cursor, and not last."""
    add_messages = Reading.add_messages

    def added(page: Reading, messages: Sequence[Message], log: LogId) -> bool:
        for message in messages:
            done = add_messages(page, [message], log)
            page.remember_if_new(message)  # also one that was dropped
            if not done:
                return False
        return True

    with patch.object(Reading, "add_messages", added):
        yield


@variant(profiles.EVERYTHING, 3, "DOUBLE", "PAGE")
def resends_are_shown() -> Iterator[None]:
    with patch.object(Reading, "remember_if_new", lambda page, message: True):
        yield


# ---- acknowledging


@variant(profiles.EVERYTHING, 0, "CURSOR-BACK")
def the_cursor_goes_down() -> Iterator[None]:
    with unconditional("#log < :offset"):
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


@variant(profiles.DEVICES, 166, "CURSOR-PART")
def a_devices_cursor_begins_with_what_it_was_returned() -> Iterator[None]:
    """Of other logs, what the account had acknowledged comes back."""
    raise_to = Cursors.raise_to

    async def without_inherited(
        cursors: Cursors, key: str, device: str | None, logs: dict[LogId, LogReach]
    ) -> None:
        new = {log: replace(reach, inherited_to=-1) for log, reach in logs.items()}
        await raise_to(cursors, key, device, new)

    with patch.object(Cursors, "raise_to", without_inherited):
        yield


@variant(profiles.DEVICES, 8, "CURSOR-PART")
def a_devices_cursor_appears_log_by_log() -> Iterator[None]:
    raised = DynamoDBMailboxStore.raise_cursor

    async def anyway(
        store: DynamoDBMailboxStore, key: str, cursor: str, log: LogId, offset: int, **_: Any
    ) -> None:
        await raised(store, key, cursor, log, offset)

    with patch.object(DynamoDBMailboxStore, "raise_cursor", anyway):
        yield


@variant(profiles.DEVICES, 8, "CURSOR-PART")
def a_devices_cursor_begins_where_the_account_stands_now() -> Iterator[None]:
    """What the account acknowledged since the device's page is hidden from it."""
    create = DynamoDBMailboxStore.create_cursor

    async def now(
        store: DynamoDBMailboxStore, key: str, cursor: str, offsets: Mapping[LogId, int]
    ) -> bool:
        account = (await Cursors(store).read(key, None)).offsets
        later = {log: max(offset, account.get(log, -1)) for log, offset in offsets.items()}
        return await create(store, key, cursor, later)

    with patch.object(DynamoDBMailboxStore, "create_cursor", now):
        yield


@variant(profiles.DEVICES, 66, "CARRIED")
def what_is_inherited_is_acknowledged() -> Iterator[None]:
    """From a device that was added since, what the account had acknowledged is hidden."""
    raise_to = Cursors.raise_to

    async def with_inherited(
        cursors: Cursors, key: str, device: str | None, logs: dict[LogId, LogReach]
    ) -> None:
        new = {
            log: replace(
                reach,
                ackable_to=reach.cursor_begins_at,
                already_acknowledged=reach.already_acknowledged and reach.inherited_to < 0,
            )
            for log, reach in logs.items()
        }
        await raise_to(cursors, key, device, new)

    with patch.object(Cursors, "raise_to", with_inherited):
        yield


@variant(profiles.DEVICES, 172, "FORGOTTEN", "CURSOR-PART")
def what_the_account_has_is_taken_for_a_devices_own() -> Iterator[None]:
    """An account that is ahead of a page leaves nothing of it to acknowledge, though the device's
    cursor is made below it meanwhile."""

    class Own(ReadingProgress):
        def __init__(self, cursor: Cursor, *, inherited: bool, **more: Any) -> None:
            super().__init__(cursor, inherited=False, **more)

    with patch.object(reading, "ReadingProgress", Own):
        yield


@variant(profiles.DEVICES, 8, "CURSOR-BACK", "ACK-COVERS-UNRETURNED")
def a_device_that_is_there_is_added_again() -> Iterator[None]:
    with unconditional("attribute_not_exists(#position)"):
        yield


# ---- deleting what was acknowledged


@variant(profiles.DELETING, 0, "DELETED")
def bundles_that_are_half_acknowledged_are_deleted() -> Iterator[None]:
    async def half(
        store: DynamoDBMailboxStore, key: str, log: LogId, offset: int, *, limit: int
    ) -> list[str]:
        found = await store.query(
            key, begin=log.head, up_to=log.after(position.OFFSET_MAX), limit=limit, keys_only=True
        )
        keys = [BundleKey.decode(item["position"]["S"]) for item in found.items]
        return [bundle.encode() for bundle in keys if bundle.first <= offset]

    with patch.object(tidying, "bundle_keys_up_to", half):
        yield


@variant(profiles.DELETING, 0, "DELETED")
def what_a_device_has_not_passed_is_deleted() -> Iterator[None]:
    common_cursor = tidying.common_cursor

    def by_the_account(cursors: Sequence[Item]) -> Cursor:
        return common_cursor([i for i in cursors if i["position"]["S"] == CURSOR_KEY])

    with patch.object(tidying, "common_cursor", by_the_account):
        yield


@variant(profiles.DELETING, 0, "DELETED")
def a_log_that_a_cursor_does_not_name_counts_as_passed() -> Iterator[None]:
    def lenient(cursors: Sequence[Item]) -> Cursor:
        found = [decode_cursor(item) for item in cursors]
        logs = set().union(*found)
        return {log: min(c[log] for c in found if log in c) for log in logs}

    with patch.object(tidying, "common_cursor", lenient):
        yield


class _DeletingCursors(Cursors):
    """Cursors that delete bundles as well."""

    def __init__(self, store: DynamoDBMailboxStore) -> None:
        super().__init__(store)
        self.tidying = Tidying(store, self)

    async def delete(self, key: str, device: str | None, logs: Mapping[LogId, LogReach]) -> None:
        """Delete what all cursors would have passed if the one of this device had been raised."""
        own = position.cursor_key(device)
        cursors = {item["position"]["S"]: item async for item in self.cursor_items(key)}
        raised = cursors.setdefault(own, {"user_id": {"S": key}, "position": {"S": own}})
        offsets = decode_cursor(raised)
        raised |= {
            log.encode(): {"N": str(reach.ackable_to)}
            for log, reach in logs.items()
            if reach.ackable_to > offsets.get(log, -1)
        }
        await self.tidying.delete(key, tidying.common_cursor(cursors.values()))


@variant(profiles.DELETING, 0, "DELETED")
def bundles_are_deleted_before_the_cursor_is_raised() -> Iterator[None]:
    class Early(_DeletingCursors):
        async def raise_to(
            self, key: str, device: str | None, logs: Mapping[LogId, LogReach]
        ) -> None:
            await self.delete(key, device, logs)
            await super().raise_to(key, device, logs)

    with patch.object(mailboxes, "Cursors", Early):
        yield


@variant(profiles.DELETING, 67, "DELETED")
def bundles_are_deleted_though_the_cursor_was_not_raised() -> Iterator[None]:
    class Unconfirmed(_DeletingCursors):
        async def raise_to(
            self, key: str, device: str | None, logs: Mapping[LogId, LogReach]
        ) -> None:
            try:
                await super().raise_to(key, device, logs)
            except MailboxError:
                await self.delete(key, device, logs)
                raise

    with patch.object(mailboxes, "Cursors", Unconfirmed):
        yield
