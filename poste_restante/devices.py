"""Cursors in the table: of the account and of each device of a mailbox.

A device sees what its own cursor has not passed, whatever other devices do. Until it has one it
reads from the account's. A cursor appears whole or not at all.
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
from poste_restante.receipt import Reach
from poste_restante.table import Cursor, decode_cursor, decode_purged

#: Where a new device begins: at all that is still stored, behind all of it, or where the account
#: stands.
DeviceStart = Literal["oldest", "newest", "account"]
STARTS: tuple[DeviceStart, ...] = get_args(DeviceStart)

#: Attempts to raise a device's cursor while others add and remove that device.
ACK_ATTEMPTS_MAX = 5


@dataclass(frozen=True, slots=True)
class Device:
    """A device with a cursor of its own.

    acknowledged: per log, the highest offset; None: the cursor cannot be read.
    """

    name: str
    acknowledged: Cursor | None


class EffectiveCursor(NamedTuple):
    """The cursor that a reading begins with. inherited: the account's, for a device without one."""

    offsets: Cursor
    inherited: bool = False


def require_cursor(item: Item) -> Cursor:
    """The cursor of an item. Raises MailboxError for a damaged one."""
    try:
        return decode_cursor(item)
    except ValueError as error:
        # Without it, what was acknowledged would come back: somebody has to look.
        device = device_of(item["position"]["S"])
        if device is None:
            raise MailboxError(f"the mailbox's cursor cannot be read: {error}") from error
        raise MailboxError(
            f"the cursor of the device {device!r} cannot be read: {error}"
        ) from error


class Cursors:
    """The cursors of a table. A mailbox is named by its partition key, `key`.

    Methods raise as `MailboxStore`'s do.
    """

    def __init__(self, store: MailboxStore) -> None:
        self._store = store

    async def read(self, key: str, device: str | None) -> EffectiveCursor:
        """The cursor that a device reads from: its own, else the account's."""
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
        """What `read` returns, where a Query that began at the device's cursor found these items.

        A cursor sorts before all else that such a Query brings, so nothing is read again but the
        account's cursor, for a device without one.
        """
        first = items[0] if items else None
        if first is not None and first["position"]["S"] == cursor_key(device):
            return EffectiveCursor(require_cursor(first))
        if device is None:
            return EffectiveCursor({})
        account = await self.read(key, None)
        return EffectiveCursor(account.offsets, inherited=True)

    async def raise_to(self, key: str, device: str | None, logs: Mapping[LogId, Reach]) -> None:
        """Acknowledge what a receipt covers. Returns when that is confirmed.

        A cursor that exists is raised to what its device was shown. One that is made begins with
        what the device inherits as well.
        """
        position = cursor_key(device)
        new = {
            log: reach.ackable_to
            for log, reach in logs.items()
            if reach.ackable_to >= 0 and not reach.carried
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
                # All at once, with what the account had acknowledged: else that would come back.
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
        """The items of the account's and of all devices' cursors."""
        pages = query_pages(self._store, key, begin=CURSOR_KEY, up_to=CURSORS_END)
        async for found in pages:
            for item in found.items:
                yield item

    async def devices(self, key: str) -> tuple[Device, ...]:
        """The devices that have a cursor, by name."""
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
        """Make a device's cursor. False: it has one, which stays as it is."""
        position = cursor_key(device)
        offsets: Cursor = {}
        if start == "account":
            offsets = (await self.read(key, None)).offsets
        elif start == "newest":
            offsets = await self._newest_offsets(key)
        return await self._create(key, position, offsets)

    async def _create(self, key: str, position: str, offsets: Cursor) -> bool:
        """Make a device's cursor, at or above what was purged: a replay may write that again.
        False: it exists."""
        items = (await self._store.query(key, only=CURSOR_KEY)).items
        purged = decode_purged(items[0]) if items else {}
        whole = {log: max(o, offsets.get(log, -1)) for log, o in purged.items()}
        return await self._store.create_cursor(key, position, {**offsets, **whole})

    async def remove(self, key: str, device: str) -> None:
        """Delete a device's cursor, if it has one."""
        if not await self._store.delete(key, [cursor_key(device)]):
            raise StoreUnavailable("the store throttles: the cursor is left over", throttled=True)

    async def _newest_offsets(self, key: str) -> Cursor:
        """Per log, the last offset that is, or was, visible. No bundle is parsed.

        Where the bundles are gone, what a device has acknowledged says how far they went: a replay
        may write them again.
        """
        newest: Cursor = {}
        async for item in self.cursor_items(key):
            try:
                known = decode_cursor(item)
            except ValueError:
                continue  # of some device: no reason to refuse another one
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
                below = top  # of another version: it is not passed
                continue
            newest[bundle.log] = max(bundle.last, newest.get(bundle.log, -1))
            below = bundle.log.head
