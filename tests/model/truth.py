"""What must be true after every step, whatever has happened: the guarantees G1 to G6, as checks.

It knows the logs, and what was stored, returned and acknowledged; of bundles it knows only that
items list offsets. Full readings are made by the production code, over the table as it is.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from poste_restante.item import Item
from poste_restante.mailboxes import Page
from poste_restante.memory import InMemoryTable
from poste_restante.position import CURSOR_KEY, LogId, mailbox_key, progress_key
from poste_restante.reading import Reading
from poste_restante.receipt import Reach, Receipt
from poste_restante.table import Cursor, decode_cursor
from tests.model.topic import EXPIRY_S, USERS, Topic, expires, identity
from tests.records import NEW_YEAR_MS, TOPIC
from worker.progress import Progress

Place = tuple[LogId, int]


class Violation(AssertionError):
    """A guarantee does not hold. kind: which check found it."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class _Forgetful(set[tuple[str, str, bytes]]):
    """Remembers no identity: a reading with it shows resends as well."""

    def __contains__(self, _: object) -> bool:
        return False


@dataclass
class Chain:
    """Pages of one reading, each behind the one before."""

    token: str | None = None
    receipt: Receipt | None = None
    shown: list[Place] = field(default_factory=list)


@dataclass
class Mailbox:
    """What became of one user's messages. visible: ever seen by a full reading."""

    cursor: Cursor = field(default_factory=dict)
    passed: set[Place] = field(default_factory=set)
    visible: set[Place] = field(default_factory=set)
    now: list[Place] = field(default_factory=list)


class Truth:
    """The checks. `gaps`: places that this table need not hold, and since which step."""

    def __init__(self, topic: Topic, table: InMemoryTable) -> None:
        self._topic = topic
        self._table = table
        self.now_s = 0
        self.step = 0
        self.mailboxes = {user: Mailbox() for user in USERS}
        self.gaps: dict[Place, int] = {}
        self.progress: dict[LogId, Progress] = {}
        #: Highest progress of a log, ever, and since its last deliberate rewind.
        self.reached: dict[LogId, int] = defaultdict(int)
        self.reached_again: dict[LogId, int] = defaultdict(int)
        #: Where an operator's skip is going to.
        self.skipping: dict[LogId, int] = {}
        self._dirty: set[str] = set()
        self._parsed: dict[int, tuple[Item, list[int]]] = {}

    def now(self) -> datetime:
        return datetime.fromtimestamp(NEW_YEAR_MS / 1000 + self.now_s, tz=UTC)

    # ---- what happens

    def changed(self, key: str) -> None:
        """An item under this partition key was written or deleted."""
        self._dirty.add(key)

    def stored(self, item: Item, born: int) -> None:
        """A bundle was put by a life that began at step `born`.

        What a table need not hold is wanted again when a life that knew of the gap delivers it.
        """
        log = LogId.decode(item["position"]["S"][:10])
        for offset in self._offsets(item):
            if self.gaps.get((log, offset), self.step + 1) <= born:
                del self.gaps[log, offset]
                for user, mailbox in self.mailboxes.items():
                    if mailbox_key(user) == item["user_id"]["S"]:
                        self._not_hidden(user, mailbox, (log, offset))

    def _not_hidden(self, user: str, mailbox: Mailbox, place: Place) -> None:
        log, offset = place
        if offset <= mailbox.cursor.get(log, -1) and place not in mailbox.passed:
            raise Violation("HIDDEN", f"{user} {place} is delivered below the cursor")

    def first_start(self, log: LogId, origin: int) -> None:
        """The log's first life was told to begin here."""
        if log not in self.progress:
            self._left_out(log, 0, origin)

    def _progressed(self) -> None:
        for partition in self._topic.groups:
            item = self._table.items.get((progress_key(TOPIC, partition), CURSOR_KEY))
            if item is None:
                continue
            new = Progress.decode(item)
            log = LogId(new.epoch, partition)
            old = self.progress.get(log)
            if old is None:
                self.first_start(log, new.origin)
            elif self.skipping.get(log) == new.next > old.next and new.last is None:
                self._left_out(log, old.next, new.next)
            elif new.origin > old.origin:
                self._origin_moved(log, old, new)
            self.progress[log] = new
            self.reached[log] = max(self.reached[log], new.next)
            self.reached_again[log] = max(self.reached_again[log], new.next)

    def _origin_moved(self, log: LogId, old: Progress, new: Progress) -> None:
        """Retention has eaten unread records."""
        if new.origin > self._topic.logs[log].start:
            raise Violation("ORIGIN", f"{log} {old} {new}")
        # What progress had passed before is in the table: no worker's loss excuses it.
        self._left_out(log, max(old.next, self.reached_again[log]), new.origin)

    def _left_out(self, log: LogId, begin: int, end: int) -> None:
        self.gaps.update(dict.fromkeys(((log, o) for o in range(begin, end)), self.step))

    # ---- checks after every step

    def check(self) -> None:
        """All that changed since the last look."""
        if not self._dirty:
            return
        users = [u for u in USERS if mailbox_key(u) in self._dirty]
        if len(users) < len(self._dirty):  # progress: it is about everybody
            self._progressed()
            users = list(USERS)
        self._dirty.clear()
        for user in users:
            self._check_mailbox(user, self.mailboxes[user])

    def _check_mailbox(self, user: str, mailbox: Mailbox) -> None:
        items = self._items(user)
        self._acknowledged(user, mailbox, items)
        full = self._full_reading(user, mailbox.cursor, items)
        self._in_order(user, full, mailbox.cursor)
        shown = set(full)
        self._stand_in_log(user, shown)
        top: dict[LogId, int] = dict(full)  # the last of each log
        for log in self._topic.logs:
            below = max(self.reached[log], top.get(log, -1) + 1)
            missing = [
                place
                for place in self._places(user, log, mailbox.cursor.get(log, -1) + 1, below)
                if place not in shown and not self._excused(place)
            ]
            if missing:
                kind = "LOST" if missing[0][1] < self.reached[log] else "HOLE"
                raise Violation(kind, f"{user} {missing} of {full}")
        gone = [
            (log, offset)
            for log, offset in mailbox.visible - shown
            if offset > mailbox.cursor.get(log, -1) and not self._excused((log, offset))
        ]
        if gone:
            raise Violation("VANISHED", f"{user} {gone}")
        mailbox.visible |= shown
        mailbox.now = full

    def _full_reading(self, user: str, cursor: Cursor, items: Sequence[Item]) -> list[Place]:
        reading = Reading(user_id=user, topic=TOPIC, now=self.now(), cursor=cursor)
        reading._seen = _Forgetful()
        reading.add(items)
        if reading.unreadable is not None:
            raise Violation("UNREADABLE", f"{user} {reading.unreadable}")
        return [(m.position.log, m.position.offset) for m in reading.messages]

    def _in_order(self, user: str, places: Sequence[Place], cursor: Cursor) -> None:
        """G3, G4 and G5 of one reading."""
        if len(set(places)) < len(places):
            raise Violation("TWICE", f"{user} {places}")
        if sorted(places) != list(places):
            raise Violation("ORDER", f"{user} {places}")
        echo = [(log, o) for log, o in places if o <= cursor.get(log, -1)]
        if echo:
            raise Violation("ECHO", f"{user} {echo}")

    def _stand_in_log(self, user: str, places: Iterable[Place]) -> None:
        for log, offset in places:
            record = self._topic.logs[log].records.get(offset)
            if record is None or record.key != user.encode():
                raise Violation("FOREIGN", f"{user} {log} {offset}")

    def _acknowledged(self, user: str, mailbox: Mailbox, items: Sequence[Item]) -> None:
        """G6: the cursor covers what was returned, and only rises."""
        cursor: Cursor = {}
        for item in items:
            if item["position"]["S"] == CURSOR_KEY:
                cursor = decode_cursor(item)
        for log in {*cursor, *mailbox.cursor}:
            old, new = mailbox.cursor.get(log, -1), cursor.get(log, -1)
            if new < old:
                raise Violation("CURSOR-BACK", f"{user} {log} from {old} to {new}")
            unreturned = [
                place
                for place in self._places(user, log, old + 1, new + 1)
                if place not in mailbox.passed and not self._excused(place)
            ]
            if unreturned:
                raise Violation("ACK-COVERS-UNRETURNED", f"{user} {unreturned}")
        mailbox.cursor = cursor

    def committed(self, log: LogId, offset: int) -> None:
        """G1: the group's offset was committed up to here."""
        for user, mailbox in self.mailboxes.items():
            lost = [
                place
                for place in self._places(user, log, 0, offset)
                if place not in mailbox.visible
                and place[1] > mailbox.cursor.get(log, -1)
                and not self._excused(place)
            ]
            if lost:
                raise Violation("COMMITTED-UNWRITTEN", f"{user} {lost}")

    # ---- checks of pages

    def page(self, user: str, chain: Chain, page: Page, end: Receipt | None, at: Cursor) -> Chain:
        """One page behind a chain's. at: the cursor when it was asked for."""
        mailbox = self.mailboxes[user]
        places = [(m.position.log, m.position.offset) for m in page.messages]
        self._stand_in_log(user, places)
        before, last = set(chain.shown), {log: o for log, o in chain.shown}
        if before.intersection(places):
            raise Violation("TWICE", f"{user} {places} after {chain.shown}")
        self._in_order(user, places, at)
        for log, offset in places:
            if offset < last.get(log, -1):
                raise Violation("ORDER", f"{user} {places} after {chain.shown}")
        identities = [i for i in map(self._identity, places) if i is not None]
        if len(set(identities)) < len(identities):
            raise Violation("DOUBLE", f"{user} {places}")
        if page.more and not page.messages:
            raise Violation("EMPTY-PAGE", f"{user} with more behind it")
        if end is None:
            return Chain()
        begin = {} if chain.receipt is None else chain.receipt.logs
        for log, reach in end.logs.items():
            passed = begin[log].passed if log in begin else -1
            for place in self._places(user, log, passed + 1, reach.passed + 1):
                twin = self._identity(place)
                if (
                    place in places
                    or (twin is not None and twin in identities)
                    or place[1] <= mailbox.cursor.get(log, -1)
                    or self._expired(place)
                ):
                    mailbox.passed.add(place)
                elif not self._excused(place):
                    raise Violation("PAGE-SKIPS", f"{user} {place}: {places} of {mailbox.now}")
        return Chain(page.receipt, end, chain.shown + places)

    def undisturbed(self, user: str, chain: Chain, limit: int | None, page: Page) -> None:
        """A page of a mailbox that nobody wrote to meanwhile is exact, and so is its `more`.

        It may be shorter than its limit: how much one Query takes is the store's to say.
        """
        behind: dict[LogId, Reach] = {}
        first = LogId(0, 0)
        if chain.receipt is not None:  # it does not go back to a log before the one it is in
            behind, first = chain.receipt.logs, LogId.decode(chain.receipt.boundary[:10])
        expected: list[Place] = []
        seen: set[object] = set()
        for log, offset in self.mailboxes[user].now:
            twin = self._identity((log, offset))
            if log < first or (log in behind and offset <= behind[log].passed) or twin in seen:
                continue
            expected.append((log, offset))
            if twin is not None and len(expected) <= len(page.messages):
                seen.add(twin)
        places = [(m.position.log, m.position.offset) for m in page.messages]
        if (
            places != expected[: len(places)]
            or page.more != (len(places) < len(expected))
            or (expected and not places)
            or (limit is not None and len(places) > limit)
        ):
            raise Violation("PAGE", f"{user} {places}, {page.more}; there is {expected}")

    # ---- what it knows

    def _items(self, user: str) -> list[Item]:
        key = mailbox_key(user)
        found = [(k[1].encode(), item) for k, item in self._table.items.items() if k[0] == key]
        return [item for _, item in sorted(found, key=lambda pair: pair[0])]

    def _offsets(self, item: Item) -> list[int]:
        return [int(entry["M"]["o"]["N"]) for entry in item["messages"]["L"]]

    def _places(self, user: str, log: LogId, begin: int, end: int) -> Iterator[Place]:
        """The user's messages at offsets of a range."""
        for offset in self._topic.logs[log].of(user):
            if begin <= offset < end:
                yield log, offset

    def _excused(self, place: Place) -> bool:
        """It need not be in the mailbox: dead, expired, or reported as not held by this table."""
        return place in self._topic.dead or place in self.gaps or self._expired(place)

    def _expired(self, place: Place) -> bool:
        log, offset = place
        return self.now_s >= EXPIRY_S and expires(self._topic.logs[log].records[offset])

    def _identity(self, place: Place) -> object:
        log, offset = place
        return identity(self._topic.logs[log].records[offset])
