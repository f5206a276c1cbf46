"""A reading of a mailbox: items of Queries, in key order, folded into one page. Pure.

A reader reads in key order and drops what was passed: an offset at or below the last one read in
that log, or at or below the cursor. Bundles may overlap after a replay. This rule hides the
overlap, across pages, restarts and concurrent writers.

Acknowledged bundles stay stored until TTL removes them, and are skipped (a loose index scan): if
the items of a Query end with a bundle that the cursor hides, the reading continues above everything
that it hides of that log.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from poste_restante.item import Item, decode_bundle
from poste_restante.message import Message
from poste_restante.position import CURSOR_KEY, CURSORS_END, BundleKey, LogId
from poste_restante.receipt import LogReach, Receipt
from poste_restante.table import Cursor


@dataclass(frozen=True, slots=True)
class PageLimits:
    """Limits of a page: messages, and bytes of bodies and headers. None: no limit."""

    messages_max: int | None = None
    bytes_max: int | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item that ends a page, with the reason."""

    key: str
    reason: str


class ReadingProgress:
    """How far a reading has come, per log and by sort key, and how far its acknowledgement would
    reach.

    cursor, inherited, start, since: as in `Reading`.
    """

    def __init__(
        self, cursor: Cursor, *, inherited: bool, start: Receipt | None, since: Receipt | None
    ) -> None:
        """Begin where the receipts and the cursor say. What they acknowledge counts as read: it
        enters `read_to`, though nothing was read yet."""
        #: The sort key after which the next page begins; empty: nothing was passed.
        self.boundary = "" if start is None else start.boundary
        #: Per log, the offset up to which everything counts as acknowledged.
        self.floors: Cursor = {}
        self._logs = {} if start is None else dict(start.logs)
        #: Whether there is a receipt to continue, or something was passed.
        self._has_content = start is not None or since is not None
        #: Per log, the offset that an acknowledgement covers before anything is read.
        ackable, inherited_cursor = ({}, cursor) if inherited else (dict(cursor), {})
        #: Per log, the offset that the reading's own cursor covers, or covered at an earlier page.
        self._acknowledged = dict(ackable)
        for receipt in (since, start):
            for log, reach in () if receipt is None else receipt.logs.items():
                ackable[log] = max(reach.ackable_to, ackable.get(log, -1))
                if reach.already_acknowledged:
                    self._acknowledged[log] = max(reach.ackable_to, self._acknowledged.get(log, -1))
        for log in sorted({*ackable, *inherited_cursor}):
            reach = self._reach(log)
            covered, inherited_to = ackable.get(log, -1), inherited_cursor.get(log, -1)
            self.floors[log] = max(covered, inherited_to)
            self._logs[log] = replace(
                reach,
                read_to=max(reach.read_to, covered, inherited_to),
                ackable_to=max(reach.ackable_to, covered),
                inherited_to=max(reach.inherited_to, inherited_to),
            )

    @property
    def logs(self) -> Iterable[LogId]:
        """Return the logs with read or acknowledged offsets."""
        return self._logs.keys()

    def has_passed(self, key: BundleKey) -> bool:
        """Return whether all of a bundle was passed, by its key alone."""
        return key.last <= self._reach(key.log).read_to

    def read_to(self, log: LogId) -> int:
        """Return the last passed offset of a log; -1: none."""
        return self._reach(log).read_to

    def pass_messages(self, log: LogId, offset: int) -> None:
        """Pass all messages of a log up to `offset`."""
        before = self._reach(log)
        if offset <= before.read_to:
            return
        ackable_to = before.ackable_to if before.blocked else offset
        self._logs[log] = replace(before, read_to=offset, ackable_to=ackable_to)
        self._has_content = True

    def pass_bundle(self, key: BundleKey) -> None:
        """Pass all of a bundle."""
        self.pass_messages(key.log, key.last)
        # The key itself: a longer key that begins with it, of a later version, is still to be read.
        self.boundary = key.encode()

    def stop_within(self, key: BundleKey) -> None:
        """End the page before or within a bundle."""
        read_to = self._reach(key.log).read_to
        if read_to >= 0:
            self.boundary = max(self.boundary, key.log.after(read_to))

    def skip_hidden(self, key: BundleKey) -> str | None:
        """Skip all bundles of the log that the cursor hides; return the boundary. None: this one is
        visible."""
        floor = self.floors.get(key.log, -1)
        if key.last > floor:
            return None
        boundary = key.log.after(floor)
        self.boundary = max(self.boundary, boundary)
        return boundary

    def receipt(self) -> Receipt | None:
        """Return the receipt of the passed messages. None: there are none, and no receipt to
        continue."""
        if not self._has_content:
            return None
        return self._receipt(self.boundary or CURSORS_END, self._logs)

    def receipt_past_unreadable(self, key: str) -> Receipt:
        """Return the receipt with which a reader continues after an unreadable item.

        It blocks the item's log: an acknowledgement covers what was returned, so it covers nothing
        of the log from here on. A key that names no log was not written by a worker.
        """
        logs = dict(self._logs)
        log = _log_of(key)
        if log is not None:
            logs[log] = replace(self._reach(log), blocked=True)
        return self._receipt(key, logs)

    def _reach(self, log: LogId) -> LogReach:
        return self._logs.get(log, LogReach())

    def _receipt(self, boundary: str, logs: Mapping[LogId, LogReach]) -> Receipt:
        """Return a receipt in the order of the logs, with the offsets that a cursor covers
        already."""
        found = {}
        for log, reach in sorted(logs.items()):
            found[log] = replace(
                reach,
                already_acknowledged=reach.ackable_to <= self._acknowledged.get(log, -1),
                inherited_to=reach.inherited_to if reach.inherited_to > reach.ackable_to else -1,
            )
        return Receipt(boundary, found)


@dataclass(slots=True)
class Reading:
    """One page that is being read.

    user_id, topic: of the messages. now: messages that expire at or before it are passed, not
    returned. cursor: the acknowledged offsets. inherited: the cursor is the account's, because the
    device has none. start: the receipt after which the reading continues; None: from the beginning.
    since: a receipt that counts as acknowledged.
    """

    user_id: str
    topic: str
    now: datetime
    cursor: Cursor
    inherited: bool = False
    limits: PageLimits = field(default_factory=PageLimits)
    start: Receipt | None = None
    since: Receipt | None = None
    messages: list[Message] = field(default_factory=list)
    #: Whether a visible message, or an unreadable item, follows the page.
    more: bool = False
    unreadable: Unreadable | None = None
    #: Whether further items only show if there is more.
    is_closed: bool = False
    #: Items read beyond the page, for the next one.
    unread: Sequence[Item] = ()
    progress: ReadingProgress = field(init=False)
    _identities: set[tuple[str, str, bytes]] = field(default_factory=set)
    _bytes: int = 0

    def __post_init__(self) -> None:
        self.progress = ReadingProgress(
            self.cursor, inherited=self.inherited, start=self.start, since=self.since
        )

    @property
    def is_ended(self) -> bool:
        """Return whether further items belong to the next page."""
        return self.more

    def skip(self, last: str) -> str | None:
        """Return the key above which to continue after a Query that ended with the sort key `last`.

        None: continue after `last`. Only cursors, and bundles that the cursor hides, are between
        the two.
        """
        if last.startswith(CURSOR_KEY):
            return CURSORS_END
        try:
            key = BundleKey.decode(last)
        except ValueError:
            return None
        return self.progress.skip_hidden(key)

    def may_have_leftovers(self, last: str) -> bool:
        """Return whether a log after the sort key `last` may hold bundles that the cursor hides."""
        return any(log.head > last for log in self.progress.floors)

    def add_items(self, items: Iterable[Item]) -> None:
        """Fold items, in key order, until the page ends. Cursors are ignored."""
        items = list(items)
        for index, item in enumerate(items):
            key = item["position"]["S"]
            if key.startswith(CURSOR_KEY):
                continue
            self._add_item(key, item)
            if self.is_ended:
                self.unread = items[index:]
                return

    def _add_item(self, text: str, item: Item) -> None:
        try:
            key = BundleKey.decode(text)
        except ValueError as error:
            self._end_before(Unreadable(text, str(error)))
            return
        if self.progress.has_passed(key):
            self.progress.pass_bundle(key)  # never parsed
            return
        try:
            messages = decode_bundle(item, self.user_id, self.topic)
        except ValueError as error:
            self._end_before(Unreadable(text, str(error)))
            return
        if self.add_messages(messages, key.log):
            self.progress.pass_bundle(key)
        else:
            self.progress.stop_within(key)

    def add_messages(self, messages: Sequence[Message], log: LogId) -> bool:
        """Pass messages of one log, in order, and append the visible ones to the page. Return False
        if the page is full before the last one."""
        # Looked up once, because a fetched message costs only some microseconds.
        passed_to, now = self.progress.read_to(log), self.now
        remember_if_new = self.remember_if_new
        read_to = -1
        for message in messages:
            offset = message.position.offset
            if (
                offset > passed_to
                and (message.expires_at is None or message.expires_at > now)
                and remember_if_new(message)
            ):
                if not self._admit(message):
                    self.more = True
                    self.progress.pass_messages(log, read_to)
                    return False
                self.messages.append(message)
            read_to = offset
        self.progress.pass_messages(log, read_to)
        return True

    def remember_if_new(self, message: Message) -> bool:
        """Remember the source, id and body of a message; return False for a resend, which has those
        of an earlier message of the page."""
        if message.source is None:
            return True  # a plain record
        identity = message.source, message.id, message.body
        if identity in self._identities:
            return False
        self._identities.add(identity)
        return True

    def close(self) -> None:
        """Return no further message. Items added from here on only show whether there is more."""
        self.is_closed = True

    def _admit(self, message: Message) -> bool:
        """Return whether a message fits the page, and count it if so."""
        most, bytes_max = self.limits.messages_max, self.limits.bytes_max
        size = 0 if bytes_max is None else _size(message)
        if self.messages and (  # at least one, of any size
            self.is_closed
            or (most is not None and len(self.messages) >= most)
            or (bytes_max is not None and self._bytes + size > bytes_max)
        ):
            return False
        self._bytes += size
        return True

    def _end_before(self, item: Unreadable) -> None:
        self.unreadable = item
        self.more = True

    @property
    def boundary(self) -> str:
        """Return the sort key after which the next page begins; empty: nothing was passed."""
        return self.progress.boundary

    def receipt(self) -> Receipt | None:
        """Return `ReadingProgress.receipt`."""
        return self.progress.receipt()

    def receipt_past_unreadable(self) -> Receipt:
        """Return `ReadingProgress.receipt_past_unreadable` of the unreadable item."""
        assert self.unreadable is not None
        return self.progress.receipt_past_unreadable(self.unreadable.key)


def _log_of(key: str) -> LogId | None:
    """Return the log that a sort key begins with, of any version's keys, or None."""
    match = re.match(r"\d+\.\d+", key, re.ASCII)
    try:
        return None if match is None else LogId.decode(match[0])
    except ValueError:
        return None


def _size(message: Message) -> int:
    return len(message.body) + sum(len(name) + len(value or b"") for name, value in message.headers)
