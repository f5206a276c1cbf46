"""Deletes acknowledged bundles, for gateways that must not keep them until TTL removes them.

A delete costs what the write cost. A bundle is deleted when the account's and every device's cursor
has passed it. Nobody can read it then, and the cursors hide what a replay writes again.
"""

import logging
from collections.abc import Iterable

from poste_restante.devices import Cursors
from poste_restante.errors import MailboxError, StoreUnavailable
from poste_restante.item import Item
from poste_restante.mailbox_store import DELETES_PER_CALL_MAX, MailboxStore
from poste_restante.position import CURSOR_KEY, BundleKey, LogId
from poste_restante.table import Cursor, decode_cursor

logger = logging.getLogger(__name__)

#: Bundles that one acknowledgement deletes, in 40 calls. The next one deletes the rest.
BUNDLES_MAX = 40 * DELETES_PER_CALL_MAX


def common_cursor(cursors: Iterable[Item]) -> Cursor:
    """Return, per log, the offset that every one of these cursors has passed. Pure.

    A log that one of them lacks is left out. The result is empty if the account has no cursor,
    because a device without one reads from there, or if a cursor cannot be read.
    """
    found: list[Cursor] = []
    of_account = False
    for item in cursors:
        try:
            found.append(decode_cursor(item))
        except ValueError:
            return {}
        of_account = of_account or item["position"]["S"] == CURSOR_KEY
    if not of_account:
        return {}
    logs = set.intersection(*map(set, found))
    return {log: min(cursor[log] for cursor in found) for log in sorted(logs)}


async def bundle_keys_up_to(
    store: MailboxStore, key: str, log: LogId, offset: int, *, limit: int
) -> list[str]:
    """Return the sort keys of a log's first bundles that end at or below an offset."""
    found = await store.query(
        key, begin=log.head, up_to=log.after(offset), limit=limit, keys_only=True
    )
    return [key for key in (item["position"]["S"] for item in found.items) if _is_bundle(key)]


class Tidying:
    """Deletes the acknowledged bundles of one table."""

    def __init__(self, store: MailboxStore, cursors: Cursors) -> None:
        self._store = store
        self._cursors = cursors
        self._warned_kinds: set[str] = set()

    async def after_ack(self, key: str, acknowledged: Cursor) -> None:
        """Delete bundles after a confirmed acknowledgement, as far as possible: the rest is
        harmless.

        acknowledged: the new offset per log.
        """
        try:
            passed = await self._common_cursor(key)
            if any(passed.get(log, -1) < offset for log, offset in acknowledged.items()):
                self._warn(
                    "devices",
                    "what was acknowledged, but not by every device, is kept until TTL removes it",
                )
            await self.delete(key, {log: o for log, o in passed.items() if log in acknowledged})
        except StoreUnavailable:
            pass  # the next acknowledgement repeats it
        except MailboxError as error:
            # Such as missing permissions: without a warning, mailboxes would only grow.
            self._warn("refused", f"cannot delete what was acknowledged: {error}")

    async def tidy(self, key: str) -> int:
        """Delete the bundles that all cursors have passed, at most `BUNDLES_MAX`; return their
        number."""
        return await self.delete(key, await self._common_cursor(key))

    async def delete(self, key: str, passed: Cursor) -> int:
        """Delete the bundles at or below these offsets, at most `BUNDLES_MAX`; return their
        number."""
        done, left = 0, BUNDLES_MAX
        for log, offset in passed.items():
            found = await bundle_keys_up_to(self._store, key, log, offset, limit=left)
            done += await self._store.delete(key, found)
            left -= len(found)
            if left == 0:
                break
        return done

    async def _common_cursor(self, key: str) -> Cursor:
        return common_cursor([item async for item in self._cursors.cursor_items(key)])

    def _warn(self, kind: str, text: str) -> None:
        """Warn once per process, because the reason is the same for every mailbox."""
        if kind not in self._warned_kinds:
            self._warned_kinds.add(kind)
            logger.warning("%s", text)


def _is_bundle(key: str) -> bool:
    try:
        BundleKey.decode(key)
    except ValueError:
        return False  # of another version, with unknown content
    return True
