"""Cursors in the table: of the account and of each device of a mailbox.

A device reads what its own cursor has not passed, independently of other devices. Until it has a
cursor, it reads from the account's. A cursor is created atomically.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from poste_restante.errors import MailboxError, StoreUnavailable
from poste_restante.item import Item
from poste_restante.mailbox_store import CursorMissingError, MailboxStore, query_pages
from poste_restante.position import (
    CURSOR_KEY,
    CURSORS_END,
    BundleKey,
    LogId,
    cursor_key,
    device_of,
)
from poste_restante.receipt import LogReach
from poste_restante.table import Cursor, decode_cursor, decode_purged

#: Where a new device begins: before all stored messages, after them, or at the account's cursor.
DeviceStart = Literal["oldest", "newest", "account"]
STARTS: tuple[DeviceStart, ...] = get_args(DeviceStart)

#: Attempts to raise a device's cursor while others add and remove that device.
ACK_ATTEMPTS_MAX = 5


@dataclass(frozen=True, slots=True)
class Device:
    """A device with a cursor of its own.

    acknowledged: per log, the highest offset. None: the cursor cannot be read.
    """

    name: str
    acknowledged: Cursor | None


class EffectiveCursor(NamedTuple):
    """The cursor that a reading begins with. inherited: it is the account's, because the device has
    none."""

    offsets: Cursor
    inherited: bool = False


def require_cursor(item: Item) -> Cursor:
    """Return the cursor of an item. Raises MailboxError for a damaged one."""
    try:
        return decode_cursor(item)
    except ValueError as error:
        # Without it, acknowledged messages would come back: the operator must act.
        device = device_of(item["position"]["S"])
        if device is None:
            raise MailboxError(f"the mailbox's cursor cannot be read: {error}") from error
        raise MailboxError(
            f"the cursor of the device {device!r} cannot be read: {error}"
        ) from error


class Cursors:
    """The cursors of a table. `key` is the partition key of a mailbox.

    Methods raise as `MailboxStore`'s do.
    """

    def __init__(self, store: MailboxStore) -> None:
        self._store = store

    async def read(self, key: str, device: str | None) -> EffectiveCursor:
        """Return the device's own cursor, else the account's."""
        if device is not None:
            items = (await self._store.query(key, only=cursor_key(device))).items
            if items:
                return EffectiveCursor(require_cursor(items[0]))
        items = (await self._store.query(key, only=CURSOR_KEY)).items
        offsets = require_cursor(items[0]) if items else {}
        return EffectiveCursor(offsets, inherited=device is not None)

    async def read_from(
        self, items: Sequence[Item], key: str, device: str | None
    ) -> EffectiveCursor:
        """Return what `read` does, given the items of a Query that began at the device's cursor.

        A cursor sorts first among them, so only the account's cursor is read again, for a device
        without one.
        """
        first = items[0] if items else None
        if first is not None and first["position"]["S"] == cursor_key(device):
            return EffectiveCursor(require_cursor(first))
        if device is None:
            return EffectiveCursor({})
        account = await self.read(key, None)
        return EffectiveCursor(account.offsets, inherited=True)

    async def raise_to(self, key: str, device: str | None, logs: Mapping[LogId, LogReach]) -> None:
        """Acknowledge the offsets of a receipt. Returns when the store has confirmed it.

        An existing cursor is raised to the offsets that its device has read. A new one begins with
        the inherited offsets as well.
        """
        position = cursor_key(device)
        new = {
            log: reach.ackable_to
            for log, reach in logs.items()
            if reach.ackable_to >= 0 and not reach.already_acknowledged
        }
        if device is None:
            for log, offset in new.items():
                await self._store.raise_cursor(key, position, log, offset)
            return
        if not new:
            return
        for _ in range(ACK_ATTEMPTS_MAX):
            try:
                for log, offset in new.items():
                    await self._store.raise_cursor(key, position, log, offset, existing=True)
            except CursorMissingError:
                # Atomic, with the inherited offsets: else acknowledged messages come back.
                whole = {
                    log: reach.cursor_begins_at
                    for log, reach in logs.items()
                    if reach.cursor_begins_at >= 0
                }
                if await self._create(key, position, whole):
                    return
            else:
                return
        raise StoreUnavailable(f"the device {device!r} is added and removed all the time")

    async def cursor_items(self, key: str) -> AsyncIterator[Item]:
        """Yield the items of the account's and all devices' cursors."""
        pages = query_pages(self._store, key, begin=CURSOR_KEY, up_to=CURSORS_END)
        async for found in pages:
            for item in found.items:
                yield item

    async def devices(self, key: str) -> tuple[Device, ...]:
        """Return the devices that have a cursor, by name."""
        found = []
        async for item in self.cursor_items(key):
            name = device_of(item["position"]["S"])
            if name is None:
                continue
            try:
                found.append(Device(name, decode_cursor(item)))
            except ValueError:
                found.append(Device(name, None))
        return tuple(found)

    async def add(self, key: str, device: str, start: DeviceStart) -> bool:
        """Create a device's cursor. Returns False, and changes nothing, if it exists."""
        position = cursor_key(device)
        offsets: Cursor = {}
        if start == "account":
            offsets = (await self.read(key, None)).offsets
        elif start == "newest":
            offsets = await self._newest_offsets(key)
        return await self._create(key, position, offsets)

    async def _create(self, key: str, position: str, offsets: Cursor) -> bool:
        """Create a device's cursor, at or above the purged offsets, which a replay may write again.
        Returns False if it exists."""
        items = (await self._store.query(key, only=CURSOR_KEY)).items
        purged = decode_purged(items[0]) if items else {}
        whole = {log: max(o, offsets.get(log, -1)) for log, o in purged.items()}
        return await self._store.create_cursor(key, position, {**offsets, **whole})

    async def remove(self, key: str, device: str) -> None:
        """Delete a device's cursor, if it has one."""
        if not await self._store.delete(key, [cursor_key(device)]):
            raise StoreUnavailable("the store throttles: the cursor is left over", throttled=True)

    async def _newest_offsets(self, key: str) -> Cursor:
        """Return, per log, the last offset that is or was visible. No bundle is parsed.

        The devices' cursors count too: they show how far deleted bundles went, which a replay may
        write again.
        """
        newest: Cursor = {}
        async for item in self.cursor_items(key):
            try:
                known = decode_cursor(item)
            except ValueError:
                continue  # of another device
            for log, offset in known.items():
                newest[log] = max(offset, newest.get(log, -1))
        below: str | None = None
        while True:
            found = await self._store.query(
                key, below=below, limit=1, keys_only=True, backwards=True
            )
            top = found.items[0]["position"]["S"] if found.items else CURSOR_KEY
            if top.startswith(CURSOR_KEY):
                return newest
            try:
                bundle = BundleKey.decode(top)
            except ValueError:
                below = top  # of another version: never passed
                continue
            newest[bundle.log] = max(bundle.last, newest.get(bundle.log, -1))
            below = bundle.log.head
