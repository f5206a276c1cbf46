"""What the model has seen: progress, gaps, what was passed and acknowledged; and what that excuses.

It knows the logs, and of bundles only that items list offsets.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from poste_restante.item import Item
from poste_restante.position import CURSOR_KEY, LogId, mailbox_key, progress_key
from poste_restante.receipt import Receipt
from poste_restante.table import Cursor
from tests.fake_table import InMemoryTable
from tests.model.topic import EXPIRY_S, USERS, Topic, expires, identity
from tests.records import NEW_YEAR_MS, TOPIC
from worker.progress import Progress

Place = tuple[LogId, int]
#: Devices of every user. Only the second one is ever added but with "oldest".
DEVICES = ("phone", "pad")


class Violation(AssertionError):  # noqa: N818 - said as what it is
    """A guarantee does not hold. kind: which check found it."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@dataclass
class Chain:
    """Pages of one reading, each behind the one before.

    returned: what its receipt covers of that, with the pages of the readings that it is since.
    removals: how often the device had been removed when the first of them was asked for.
    """

    token: str | None = None
    receipt: Receipt | None = None
    shown: list[Place] = field(default_factory=list)
    returned: list[Place] = field(default_factory=list)
    removals: int = 0


@dataclass
class View:
    """A mailbox as the account or a device sees it.

    cursor: its own; None: a device that has none. effective: what it reads from. passed: what a
    page of its own returned, or need not return. inherited: what the account had acknowledged when
    a page was read from there. visible: ever seen by a full reading. now: the last one.
    asked: with what acknowledgements were asked to make its cursor. generation: how often its
    cursor came or went. removals: how often it went.
    """

    cursor: Cursor | None = None
    effective: Cursor = field(default_factory=dict)
    passed: set[Place] = field(default_factory=set)
    inherited: set[Place] = field(default_factory=set)
    visible: set[Place] = field(default_factory=set)
    now: list[Place] = field(default_factory=list)
    asked: list[Cursor] = field(default_factory=list)
    generation: int = 0
    removals: int = 0


def _views() -> Iterator[tuple[str | None, View]]:
    yield None, View({})
    for device in DEVICES:
        yield device, View()


@dataclass
class Mailbox:
    """What became of one user's messages. deleted: on purpose, behind every cursor."""

    views: dict[str | None, View] = field(default_factory=lambda: dict(_views()))
    deleted: set[Place] = field(default_factory=set)
    #: Per device, what nobody has promised it: it might have been deleted when it was added.
    unpromised: dict[str, Cursor] = field(default_factory=dict)
    #: Per device, where `add_device` was told to begin.
    added: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @property
    def account(self) -> View:
        return self.views[None]


class Ledger:
    """What has happened. gaps: places that this table need not hold, and since which step."""

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

    def now(self) -> datetime:
        return datetime.fromtimestamp(NEW_YEAR_MS / 1000 + self.now_s, tz=UTC)

    # ---- what happens

    def changed(self, key: str) -> None:
        """An item under this partition key was written or deleted."""
        self._dirty.add(key)

    def stored(self, item: Item, born: int) -> None:
        """A bundle was put by a partition task that began at step `born`.

        What a table need not hold is wanted again when a task that knew of the gap delivers it.
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
        for device, view in mailbox.views.items():
            known = view.passed | view.inherited
            below = offset <= (view.cursor or {}).get(log, -1)
            if below and mailbox.added[device or ""] <= {"oldest"} and place not in known:
                raise Violation("HIDDEN", f"{user} {place} is delivered below {device}")

    def first_start(self, log: LogId, origin: int) -> None:
        """The log's first partition task was told to begin here."""
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
