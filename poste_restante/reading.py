"""A reading of a mailbox: items of Queries, in key order, folded into one page. Pure.

The whole rule for readers: read in key order, and drop what was passed (an offset at or below
the last one seen in that log, or at or below the cursor). Bundles may overlap after a replay;
the rule makes that invisible, across pages, restarts and writers at work.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from poste_restante.item import Item, decode_bundle
from poste_restante.message import Message
from poste_restante.position import SYSTEM_PREFIX, BundleKey, LogId
from poste_restante.receipt import BUNDLES_MAX, Reach, Receipt
from poste_restante.table import Cursor


@dataclass(frozen=True, slots=True)
class Limits:
    """What one page holds at most: messages, and bytes of bodies and headers. None: no limit."""

    messages_max: int | None = None
    bytes_max: int | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item that ends a page. reason: what is wrong with it."""

    key: str
    reason: str


@dataclass(slots=True)
class Reading:
    """One page in the making.

    user_id, topic: what messages are made with. now: messages that expire at or before it are
    passed, not returned. cursor: what was acknowledged before. start: the receipt behind which
    the reading goes on; None: from the beginning.
    """

    user_id: str
    topic: str
    now: datetime
    cursor: Cursor
    limits: Limits = field(default_factory=Limits)
    start: Receipt | None = None
    messages: list[Message] = field(default_factory=list)
    #: A visible message, or an unreadable item, stands behind the page.
    more: bool = False
    unreadable: Unreadable | None = None
    #: In key order, which is the order of reading.
    _logs: dict[LogId, Reach] = field(default_factory=dict)
    _boundary: str = ""
    _bundles: list[BundleKey] = field(default_factory=list)
    _seen: set[tuple[str, str, bytes]] = field(default_factory=set)
    _bytes: int = 0
    _passed_anything: bool = False
    #: No further message is returned; what is added only tells whether there is more.
    closed: bool = False
    #: Items that were read, and stand behind the page: for the next one.
    unread: Sequence[Item] = ()

    def __post_init__(self) -> None:
        if self.start is not None:
            self._logs = dict(self.start.logs)
            self._boundary = self.start.boundary
            self._bundles = list(self.start.bundles)

    @property
    def ended(self) -> bool:
        """Nothing that is read from here on belongs to this page."""
        return self.more

    def add(self, items: Iterable[Item]) -> None:
        """Fold items, in key order, none of them a cursor, until the page ends."""
        items = list(items)
        for index, item in enumerate(items):
            key = item["position"]["S"]
            if key.startswith(SYSTEM_PREFIX):
                continue  # reserved: cursors of devices
            self._add(key, item)
            if self.ended:
                self.unread = items[index:]
                return

    def _add(self, text: str, item: Item) -> None:
        try:
            key = BundleKey.decode(text)
        except ValueError as error:
            self._end_before(Unreadable(text, str(error)))
            return
        if key.last <= max(self.cursor.get(key.log, -1), self._reach(key.log).passed):
            self._pass_whole(key)  # judged by its key, never parsed
            return
        try:
            messages = decode_bundle(item, self.user_id, self.topic)
        except ValueError as error:
            self._end_before(Unreadable(text, str(error)))
            return
        if self._take(messages, key.log):
            self._pass_whole(key)
        else:
            self._end_within(key)

    def _take(self, messages: Sequence[Message], log: LogId) -> bool:
        """Pass messages of one log, in order, returning those that are to be seen. False: the
        first that was not passed is for the next page."""
        # Looked up once for all of them: a fetched message costs some microseconds in all.
        floor = max(self.cursor.get(log, -1), self._reach(log).passed)
        now, seen = self.now, self._seen
        passed = -1
        for message in messages:
            offset = message.position.offset
            if offset > floor and (message.expires_at is None or message.expires_at > now):
                identity = _identity(message)
                if identity is None or identity not in seen:
                    if not self._fits(message):
                        self.more = True
                        self._pass(log, passed)
                        return False
                    self.messages.append(message)
                    if identity is not None:
                        seen.add(identity)
            passed = offset
        self._pass(log, passed)
        return True

    def close(self) -> None:
        """Return no further message; what is added now only tells whether there is more."""
        self.closed = True

    def _fits(self, message: Message) -> bool:
        """Whether a message is for this page; if so, it is counted."""
        most, bytes_max = self.limits.messages_max, self.limits.bytes_max
        size = 0 if bytes_max is None else _size(message)
        if self.messages and (  # at least one, however large
            self.closed
            or (most is not None and len(self.messages) >= most)
            or (bytes_max is not None and self._bytes + size > bytes_max)
        ):
            return False
        self._bytes += size
        return True

    def _reach(self, log: LogId) -> Reach:
        return self._logs.get(log, Reach())

    def _pass(self, log: LogId, offset: int) -> None:
        """Everything of this log up to `offset` was passed."""
        before = self._reach(log)
        if offset <= before.passed:
            return
        covered = before.covered if before.blocked else offset
        self._logs[log] = Reach(offset, covered, blocked=before.blocked)
        self._passed_anything = True

    def _pass_whole(self, key: BundleKey) -> None:
        self._pass(key.log, key.last)
        # The key itself: an item that begins with it, of a later version say, is still to be read.
        self._boundary = key.encode()
        if key.last <= self._reach(key.log).covered and len(self._bundles) < BUNDLES_MAX:
            self._bundles.append(key)
            self._passed_anything = True

    def _end_within(self, key: BundleKey) -> None:
        """The page is full in the middle of a bundle, or at its begin."""
        passed = self._reach(key.log).passed
        if passed >= 0:
            self._boundary = max(self._boundary, key.log.after(passed))

    def _end_before(self, item: Unreadable) -> None:
        self.unreadable = item
        self.more = True

    @property
    def boundary(self) -> str:
        """The sort key behind which the next page begins; empty: nothing was passed."""
        return self._boundary

    def receipt(self) -> Receipt | None:
        """What this reading has passed; None: nothing, so there is nothing to acknowledge."""
        if self.start is None and not self._passed_anything:
            return None
        return Receipt(self._boundary, self._logs, tuple(self._bundles))

    def past_unreadable(self) -> Receipt:
        """Where a reader who goes on behind the unreadable item stands.

        Its log is blocked: what is acknowledged is what was returned, so from here on nothing of
        it is covered. A key that names no log is none of a worker's.
        """
        assert self.unreadable is not None
        logs = dict(self._logs)
        log = _log_of(self.unreadable.key)
        if log is not None:
            logs[log] = replace(self._reach(log), blocked=True)
        return Receipt(self.unreadable.key, logs, tuple(self._bundles))


def _log_of(key: str) -> LogId | None:
    """The log that a sort key begins with, whatever follows it in another version's keys."""
    match = re.match(r"\d+\.\d+", key, re.ASCII)
    try:
        return None if match is None else LogId.decode(match[0])
    except ValueError:
        return None


def _identity(message: Message) -> tuple[str, str, bytes] | None:
    """What a producer's resend has in common with the first sending; None: a plain record."""
    if message.source is None:
        return None
    return message.source, message.id, message.body


def _size(message: Message) -> int:
    return len(message.body) + sum(len(name) + len(value or b"") for name, value in message.headers)
