"""What producers and readers did, in one order: who knew what, and when.

Time is a counter: every begin and every end takes the next tick, under one lock, so "began after
it had returned" is a comparison of two numbers.
"""

import itertools
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tests.audit.keys import Log

Header = tuple[str, bytes | None]

#: The header by which a record in the log is known again, whatever became of its sending.
AUDIT_HEADER = "audit"


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A record to produce. dead: the reason of the dead letter that it must become; None: a
    message. perhaps: it may become a message or a dead letter of any reason."""

    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()
    partition: int | None = None
    timestamp_ms: int | None = None
    dead: str | None = None
    perhaps: bool = False


@dataclass
class Produced:
    """One record that was sent. place: partition and offset as acknowledged; None: not known.
    appended_us: an instant, in epoch microseconds, before which it was appended; None: not known.
    """

    number: int
    outgoing: Outgoing
    place: tuple[int, int] | None = None
    appended_us: int | None = None


@dataclass
class Fetch:
    """One page, asked for and perhaps had.

    device: None: the account. after: the fetch whose receipt it continues. since: that receipt
    counts as acknowledged, and the reading begins at the head of the mailbox again. offsets,
    bodies: what was returned, in order, per log; checksums of the bodies beside the offsets.
    more: None while the page was not had. failed: the name of the error, or "". receipt: of the
    page. fresh_us: up to when its reading was said to be complete, in epoch microseconds.
    """

    number: int
    user: str
    after: "Fetch | None"
    began: int
    device: str | None = None
    since: bool = False
    receipt: str | None = None
    ended: int | None = None
    offsets: dict[Log, "array[int]"] = field(default_factory=dict)
    bodies: dict[Log, "array[int]"] = field(default_factory=dict)
    more: bool | None = None
    failed: str = ""
    fresh_us: int | None = None

    def chain(self) -> "list[Fetch]":
        """The pages of this reading and of those that it is since; this one is the last."""
        pages: list[Fetch] = []
        page: Fetch | None = self
        while page is not None:
            pages.append(page)
            page = page.after
        return pages[::-1]

    def head(self) -> "Fetch":
        """The page with which the reading began at the head of the mailbox."""
        page = self
        while page.after is not None and not page.since:
            page = page.after
        return page

    def reached(self) -> dict[Log, int]:
        """The highest offset of each log that this reading has returned so far."""
        found: dict[Log, int] = {}
        for page in self.chain():
            for log, offsets in page.offsets.items():
                if offsets:
                    found[log] = max(found.get(log, -1), *offsets)
        return found


class Outcome(StrEnum):
    """How an acknowledgement ended. UNKNOWN: also one that has not ended."""

    UNKNOWN = "unknown"
    CONFIRMED = "confirmed"
    REFUSED = "refused"


@dataclass
class Ack:
    """One acknowledgement of what a reading had passed. covers: at least this, per log."""

    user: str
    of: Fetch
    covers: Mapping[Log, int]
    began: int
    ended: int | None = None
    outcome: Outcome = Outcome.UNKNOWN


@dataclass
class Addition:
    """`add_device`. outcome: CONFIRMED where the device has a cursor, this one or an older one."""

    user: str
    device: str
    start: str
    began: int
    ended: int | None = None
    outcome: Outcome = Outcome.UNKNOWN


@dataclass(frozen=True)
class CursorSeen:
    """The account's cursor as it stood in the table at a time between two ticks."""

    user: str
    cursor: Mapping[Log, int]
    began: int
    ended: int


class Journal:
    """Thread-safe; grows with what happens, some 20 bytes for every message returned. clock_us:
    epoch microseconds, as the workers' clocks."""

    def __init__(self, clock_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self.clock_us = clock_us
        self._lock = threading.Lock()
        self._ticks = itertools.count(1)
        self._numbers = itertools.count(1)
        self.produced: dict[int, Produced] = {}
        self.fetches: list[Fetch] = []
        self.acks: list[Ack] = []
        self.cursors: list[CursorSeen] = []
        self.additions: list[Addition] = []
        #: Devices of users that are removed, or may be: they are not read any more.
        self.removed: set[tuple[str, str]] = set()

    def tick(self) -> int:
        with self._lock:
            return next(self._ticks)

    # ---- producers

    def sending(self, outgoing: Outgoing) -> Produced:
        with self._lock:
            produced = Produced(next(self._numbers), outgoing)
            self.produced[produced.number] = produced
            return produced

    def sent(self, produced: Produced, partition: int, offset: int) -> None:
        """The broker has acknowledged it."""
        with self._lock:
            produced.place = (partition, offset)
            produced.appended_us = self.clock_us()

    # ---- readers

    def fetch_begins(
        self,
        user: str,
        after: Fetch | None = None,
        *,
        device: str | None = None,
        since: bool = False,
    ) -> Fetch:
        """since: the page that it is after counts as acknowledged."""
        with self._lock:
            fetch = Fetch(next(self._numbers), user, after, next(self._ticks), device, since)
            self.fetches.append(fetch)
            return fetch

    def fetch_ends(
        self,
        fetch: Fetch,
        messages: Iterable[tuple[Log, int, int]],
        *,
        more: bool,
        receipt: str | None = None,
        fresh_us: int | None = None,
    ) -> None:
        """messages: (log, offset, checksum of the body) of each that was returned, in order."""
        with self._lock:
            for log, offset, body in messages:
                fetch.offsets.setdefault(log, array("q")).append(offset)
                fetch.bodies.setdefault(log, array("q")).append(body)
            fetch.more = more
            fetch.receipt = receipt
            fetch.fresh_us = fresh_us
            fetch.ended = next(self._ticks)

    def fetch_fails(self, fetch: Fetch, error: str) -> None:
        with self._lock:
            fetch.failed = error
            fetch.ended = next(self._ticks)

    def ack_begins(self, fetch: Fetch) -> Ack:
        """An acknowledgement by the receipt of a fetch that has returned."""
        covers = fetch.reached()
        with self._lock:
            ack = Ack(fetch.user, fetch, covers, next(self._ticks))
            self.acks.append(ack)
            return ack

    def ack_ends(self, ack: Ack, outcome: Outcome) -> None:
        with self._lock:
            ack.outcome = outcome
            ack.ended = next(self._ticks)

    def addition_begins(self, user: str, device: str, start: str) -> Addition:
        with self._lock:
            addition = Addition(user, device, start, next(self._ticks))
            self.additions.append(addition)
            return addition

    def addition_ends(self, addition: Addition, outcome: Outcome) -> None:
        with self._lock:
            addition.outcome = outcome
            addition.ended = next(self._ticks)

    def removal_begins(self, user: str, device: str) -> None:
        with self._lock:
            self.removed.add((user, device))

    # ---- the observer

    def cursor_seen(self, user: str, cursor: Mapping[Log, int], began: int) -> None:
        """began: a tick taken before the read."""
        with self._lock:
            self.cursors.append(CursorSeen(user, dict(cursor), began, next(self._ticks)))

    def returned(self) -> Sequence[Fetch]:
        """The fetches that have returned a page, as they began."""
        with self._lock:
            return [fetch for fetch in self.fetches if fetch.more is not None]
