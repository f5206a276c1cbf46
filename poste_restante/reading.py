"""A reading of a mailbox: items of Queries, in key order, folded into one page. Pure.

The whole rule for readers: read in key order, and drop what was passed (an offset at or below
the last one seen in that log, or at or below the cursor). Bundles may overlap after a replay;
the rule makes that invisible, across pages, restarts and writers at work.

What was acknowledged stays stored until TTL removes it, and is skipped instead of read (a loose
index scan): where the items that a Query brought end with a bundle that the cursor hides, the
reading goes on above all that it hides of that log.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from poste_restante.item import Item, decode_bundle
from poste_restante.message import Message
from poste_restante.position import CURSOR_KEY, CURSORS_END, BundleKey, LogId
from poste_restante.receipt import Reach, Receipt
from poste_restante.table import Cursor


@dataclass(frozen=True, slots=True)
class PageLimits:
    """What one page holds at most: messages, and bytes of bodies and headers. None: no limit."""

    messages_max: int | None = None
    bytes_max: int | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item that ends a page. reason: what is wrong with it."""

    key: str
    reason: str


class Extent:
    """How far a reading has come, per log and in key order, and what an acknowledgement covers.

    cursor, inherited, start, since: as in `Reading`.
    """

    def __init__(
        self, cursor: Cursor, *, inherited: bool, start: Receipt | None, since: Receipt | None
    ) -> None:
        #: The sort key behind which the next page begins; empty: nothing was passed.
        self.boundary = "" if start is None else start.boundary
        #: Per log, up to where everything was acknowledged, or counts as if it were.
        self.floors: Cursor = {}
        self._logs = {} if start is None else dict(start.logs)
        #: There is a receipt to carry on, or something was passed.
        self._has_content = start is not None or since is not None
        #: Per log, what an acknowledgement of this reading covers before it has read anything.
        ackable, inherited_cursor = ({}, cursor) if inherited else (dict(cursor), {})
        #: Per log, what the reading's own cursor covers now, or covered when an earlier page read
        #: it.
        self._carried = dict(ackable)
        for receipt in (since, start):
            for log, reach in () if receipt is None else receipt.logs.items():
                ackable[log] = max(reach.ackable_to, ackable.get(log, -1))
                if reach.carried:
                    self._carried[log] = max(reach.ackable_to, self._carried.get(log, -1))
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
        """The logs of which something was read, or acknowledged before."""
        return self._logs.keys()

    def has_passed(self, key: BundleKey) -> bool:
        """Whether all of a bundle was passed, by its key alone."""
        return key.last <= self._reach(key.log).read_to

    def read_to(self, log: LogId) -> int:
        """The offset at or below which a log's messages are dropped: they were passed. -1: none."""
        return self._reach(log).read_to

    def pass_messages(self, log: LogId, offset: int) -> None:
        """Everything of a log up to `offset` was passed."""
        before = self._reach(log)
        if offset <= before.read_to:
            return
        ackable_to = before.ackable_to if before.blocked else offset
        self._logs[log] = replace(before, read_to=offset, ackable_to=ackable_to)
        self._has_content = True

    def pass_bundle(self, key: BundleKey) -> None:
        """All of a bundle was passed."""
        self.pass_messages(key.log, key.last)
        # The key itself: an item that begins with it, of a later version say, is still to be read.
        self.boundary = key.encode()

    def stop_within(self, key: BundleKey) -> None:
        """The page ends in the middle of a bundle, or at its begin."""
        read_to = self._reach(key.log).read_to
        if read_to >= 0:
            self.boundary = max(self.boundary, key.log.after(read_to))

    def skip_hidden(self, key: BundleKey) -> str | None:
        """Go on above all of its log that the cursor hides. None: the bundle is not hidden."""
        floor = self.floors.get(key.log, -1)
        if key.last > floor:
            return None
        boundary = key.log.after(floor)
        self.boundary = max(self.boundary, boundary)
        return boundary

    def receipt(self) -> Receipt | None:
        """What was passed. None: nothing, so there is nothing to acknowledge.

        Behind a receipt, or since one, there is always one: it carries that one's content on.
        """
        if not self._has_content:
            return None
        return self._receipt(self.boundary or CURSORS_END, self._logs)

    def receipt_past_unreadable(self, key: str) -> Receipt:
        """Where a reader who goes on behind an unreadable item stands.

        Its log is blocked: what is acknowledged is what was returned, so from here on nothing of
        it is covered. A key that names no log is none of a worker's.
        """
        logs = dict(self._logs)
        log = _log_of(key)
        if log is not None:
            logs[log] = replace(self._reach(log), blocked=True)
        return self._receipt(key, logs)

    def _reach(self, log: LogId) -> Reach:
        return self._logs.get(log, Reach())

    def _receipt(self, boundary: str, logs: Mapping[LogId, Reach]) -> Receipt:
        """In the order of the logs. What a cursor covers already is carried along."""
        found = {}
        for log, reach in sorted(logs.items()):
            carried = reach.ackable_to <= self._carried.get(log, -1)
            inherited_to = reach.inherited_to if reach.inherited_to > reach.ackable_to else -1
            found[log] = replace(reach, carried=carried, inherited_to=inherited_to)
        return Receipt(boundary, found)


@dataclass(slots=True)
class Reading:
    """One page in the making.

    user_id, topic: what messages are made with. now: messages that expire at or before it are
    passed, not returned. cursor: what was acknowledged before. inherited: the cursor is the
    account's, for want of one of the device's own. start: the receipt behind which the reading goes
    on; None: from the beginning. since: a receipt that counts as if it had been acknowledged.
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
    #: A visible message, or an unreadable item, stands behind the page.
    more: bool = False
    unreadable: Unreadable | None = None
    #: No further message is returned; what is added only tells whether there is more.
    is_closed: bool = False
    #: Items that were read, and stand behind the page: for the next one.
    unread: Sequence[Item] = ()
    extent: Extent = field(init=False)
    _identities: set[tuple[str, str, bytes]] = field(default_factory=set)
    _bytes: int = 0

    def __post_init__(self) -> None:
        self.extent = Extent(
            self.cursor, inherited=self.inherited, start=self.start, since=self.since
        )

    @property
    def is_ended(self) -> bool:
        """Nothing that is read from here on belongs to this page."""
        return self.more

    def skip(self, last: str) -> str | None:
        """Where to go on when a Query ended with the sort key `last`: above this key.

        None: right behind `last`. Nothing stands between the two but cursors, or bundles that the
        cursor hides.
        """
        if last.startswith(CURSOR_KEY):
            return CURSORS_END
        try:
            key = BundleKey.decode(last)
        except ValueError:
            return None
        return self.extent.skip_hidden(key)

    def may_have_leftovers(self, last: str) -> bool:
        """Whether a log behind the sort key `last` may hold bundles that the cursor hides."""
        return any(log.head > last for log in self.extent.floors)

    def add(self, items: Iterable[Item]) -> None:
        """Fold items, in key order, until the page ends. Cursors are passed over."""
        items = list(items)
        for index, item in enumerate(items):
            key = item["position"]["S"]
            if key.startswith(CURSOR_KEY):
                continue
            self._add(key, item)
            if self.is_ended:
                self.unread = items[index:]
                return

    def _add(self, text: str, item: Item) -> None:
        try:
            key = BundleKey.decode(text)
        except ValueError as error:
            self._end_before(Unreadable(text, str(error)))
            return
        if self.extent.has_passed(key):
            self.extent.pass_bundle(key)  # never parsed
            return
        try:
            messages = decode_bundle(item, self.user_id, self.topic)
        except ValueError as error:
            self._end_before(Unreadable(text, str(error)))
            return
        if self.take(messages, key.log):
            self.extent.pass_bundle(key)
        else:
            self.extent.stop_within(key)

    def take(self, messages: Sequence[Message], log: LogId) -> bool:
        """Pass messages of one log, in order, returning those that are to be seen. False: the
        first that was not passed is for the next page."""
        # Looked up once for all of them: a fetched message costs some microseconds in all.
        floor, now, is_resend = self.extent.read_to(log), self.now, self.is_resend
        read_to = -1
        for message in messages:
            offset = message.position.offset
            if (
                offset > floor
                and (message.expires_at is None or message.expires_at > now)
                and not is_resend(message)
            ):
                if not self._admit(message):
                    self.more = True
                    self.extent.pass_messages(log, read_to)
                    return False
                self.messages.append(message)
            read_to = offset
        self.extent.pass_messages(log, read_to)
        return True

    def is_resend(self, message: Message) -> bool:
        """Whether the page has met this source, id and body before. From now on it has."""
        if message.source is None:
            return False  # a plain record says nothing of other ones
        identity = message.source, message.id, message.body
        if identity in self._identities:
            return True
        self._identities.add(identity)
        return False

    def close(self) -> None:
        """Return no further message; what is added now only tells whether there is more."""
        self.is_closed = True

    def _admit(self, message: Message) -> bool:
        """Whether a message is for this page; if so, it is counted."""
        most, bytes_max = self.limits.messages_max, self.limits.bytes_max
        size = 0 if bytes_max is None else _size(message)
        if self.messages and (  # at least one, however large
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
        """The sort key behind which the next page begins; empty: nothing was passed."""
        return self.extent.boundary

    def receipt(self) -> Receipt | None:
        """What this reading has passed; see `Extent.receipt`."""
        return self.extent.receipt()

    def receipt_past_unreadable(self) -> Receipt:
        """Where a reader who goes on behind the unreadable item stands."""
        assert self.unreadable is not None
        return self.extent.receipt_past_unreadable(self.unreadable.key)


def _log_of(key: str) -> LogId | None:
    """The log that a sort key begins with, whatever follows it in another version's keys."""
    match = re.match(r"\d+\.\d+", key, re.ASCII)
    try:
        return None if match is None else LogId.decode(match[0])
    except ValueError:
        return None


def _size(message: Message) -> int:
    return len(message.body) + sum(len(name) + len(value or b"") for name, value in message.headers)
