"""What must be true after every step, whatever has happened: the guarantees G1 to G6, as checks.

Full readings are made by the production code, over the table as it is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from unittest.mock import patch

from poste_restante import reading as reading_module
from poste_restante.item import Item, decode_bundle
from poste_restante.message import Message
from poste_restante.page import Page
from poste_restante.position import BundleKey, LogId, cursor_key, mailbox_key
from poste_restante.reading import Reading
from poste_restante.receipt import Receipt
from poste_restante.table import Cursor, decode_cursor
from tests.fake_table import InMemoryTable
from tests.model.ledger import Chain, Ledger, Mailbox, Place, View, Violation
from tests.model.topic import USERS, Topic
from tests.records import TOPIC


class _WithResends(Reading):
    """A reading that shows resends as well."""

    def remember_if_new(self, message: Message) -> bool:
        return True


class Truth(Ledger):
    """The checks."""

    def __init__(self, topic: Topic, table: InMemoryTable) -> None:
        super().__init__(topic, table)
        #: Whether devices are looked at: a reading for each takes time.
        self.devices = True
        self._parsed: dict[int, tuple[Item, list[Message]]] = {}

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
        stored = {item["position"]["S"]: item for item in items}
        for device, view in mailbox.views.items():
            self._acknowledged(user, mailbox, device, stored.get(cursor_key(device)))
            view.effective = mailbox.account.effective if view.cursor is None else view.cursor
        for device, view in mailbox.views.items():
            if device is None or self.devices:
                self._check_view(f"{user} {device or ''}", user, mailbox, view, items)

    def _check_view(
        self, name: str, user: str, mailbox: Mailbox, view: View, items: Sequence[Item]
    ) -> None:
        cursor = view.effective
        full = self._full_reading(user, cursor, items)
        self._in_order(name, full, cursor)
        shown = set(full)
        self._stand_in_log(user, shown)
        top: dict[LogId, int] = dict(full)  # the last of each log
        for log in self._topic.logs:
            below = max(self.reached[log], top.get(log, -1) + 1)
            missing = [
                place
                for place in self._places(user, log, cursor.get(log, -1) + 1, below)
                if place not in shown and place not in mailbox.deleted and not self._excused(place)
            ]
            if missing:
                kind = "LOST" if missing[0][1] < self.reached[log] else "HOLE"
                raise Violation(kind, f"{name} {missing} of {full}")
        gone = [
            (log, offset)
            for log, offset in view.visible - shown - mailbox.deleted
            if offset > cursor.get(log, -1) and not self._excused((log, offset))
        ]
        if gone:
            raise Violation("VANISHED", f"{name} {gone}")
        view.visible |= shown
        view.now = full

    def _full_reading(self, user: str, cursor: Cursor, items: Sequence[Item]) -> list[Place]:
        reading = _WithResends(user_id=user, topic=TOPIC, now=self.now(), cursor=cursor)
        with patch.object(reading_module, "decode_bundle", self._decoded_once):
            reading.add_items(items)
        if reading.unreadable is not None:
            raise Violation("UNREADABLE", f"{user} {reading.unreadable}")
        return [(m.position.log, m.position.offset) for m in reading.messages]

    def _decoded_once(self, item: Item, user_id: str, topic: str) -> list[Message]:
        """Items of the table are never altered, only replaced: most were parsed before."""
        known = self._parsed.get(id(item))
        if known is None or known[0] is not item:
            known = self._parsed[id(item)] = item, decode_bundle(item, user_id, topic)
        return known[1]

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

    def _acknowledged(
        self, user: str, mailbox: Mailbox, device: str | None, item: Item | None
    ) -> None:
        """G6, G12: a cursor covers what its device was returned, and only rises."""
        view = mailbox.views[device]
        new = None if item is None else decode_cursor(item)
        if device is None:
            new = new or {}
        if (new is None) != (view.cursor is None):
            view.generation += 1
            view.removals += new is None
        if new is not None and view.cursor is None:
            self._created(f"{user} {device}", mailbox, device or "", new)
        elif new is not None and view.cursor is not None:
            for log in {*new, *view.cursor}:
                old = view.cursor.get(log, -1)
                name = f"{user} {device or ''}"
                places = self._places(user, log, old + 1, new.get(log, -1) + 1)
                # A device that had no cursor did not hold up what was deleted.
                kept = [place for place in places if place not in mailbox.deleted]
                self._raised(name, view, kept, old, new.get(log, -1))
        view.cursor = new

    def _created(self, name: str, mailbox: Mailbox, device: str, new: Cursor) -> None:
        """By an acknowledgement, with all that the account had acknowledged; or by `add`."""
        starts = mailbox.added[device]
        if new in mailbox.views[device].asked or ("oldest" in starts and not new):
            return
        seen = set().union(*(view.visible for view in mailbox.views.values()))
        ackable_to = {log for log, offset in new.items() if (log, offset) in seen}
        account = mailbox.account.effective
        if not starts - {"oldest"}:
            raise Violation("CURSOR-PART", f"{name} {new}, {mailbox.views[device].asked}")
        for log in set(new) - ackable_to:
            others = [view.cursor or {} for view in mailbox.views.values()]
            if new[log] > max(other.get(log, -1) for other in [account, *others]):
                raise Violation("ACK-COVERS-UNRETURNED", f"{name} begins at {log} {new[log]}")

    def _raised(self, name: str, view: View, places: Sequence[Place], old: int, new: int) -> None:
        if new < old:
            raise Violation("CURSOR-BACK", f"{name} from {old} to {new}")
        known = view.passed | view.inherited
        unreturned = [p for p in places if p not in known and not self._excused(p)]
        if unreturned:
            raise Violation("ACK-COVERS-UNRETURNED", f"{name} {unreturned}")
        if places and view.inherited.issuperset(places) and not view.passed.intersection(places):
            raise Violation("CARRIED", f"{name} {places} only the account has acknowledged")

    def confirmed(self, user: str, device: str | None, chain: Chain) -> None:
        """G4, G12: an acknowledgement is confirmed, and covers what the pages have returned.

        A removal forgets what the device's cursor had covered, which a receipt does not say again.
        """
        self.check()
        view = self.mailboxes[user].views[device]
        if view.removals != chain.removals:
            return
        # The acknowledgement makes a cursor where there is none.
        uncovered = [
            place for place in chain.returned if place[1] > (view.cursor or {}).get(place[0], -1)
        ]
        if uncovered:
            raise Violation("FORGOTTEN", f"{user} {device or ''} {uncovered} of {view.cursor}")

    def deletes(self, user: str, sort_key: str) -> None:
        """A bundle is deleted: the account and every device has passed all of it (G12)."""
        key = BundleKey.decode(sort_key)
        mailbox = self.mailboxes[user]
        for device, view in mailbox.views.items():
            if view.cursor is None:
                continue
            free = mailbox.unpromised.get(device or "", {}).get(key.log, -1)
            if key.last > max(view.cursor.get(key.log, -1), free):
                raise Violation("DELETED", f"{user} {sort_key}, which {device} has not passed")
        mailbox.deleted.update(self._places(user, key.log, key.first, key.last + 1))

    def adds(self, user: str, device: str, start: str) -> None:
        """A device is to be added: what every cursor has passed is not promised to it."""
        mailbox = self.mailboxes[user]
        mailbox.added[device].add(start)
        free = {
            log: min(
                max(view.cursor.get(log, -1), mailbox.unpromised.get(name or "", {}).get(log, -1))
                for name, view in mailbox.views.items()
                if view.cursor is not None
            )
            for log in mailbox.account.effective
        }
        known = mailbox.unpromised.setdefault(device, {})
        for log, offset in free.items():
            known[log] = max(offset, known.get(log, -1))

    def committed(self, log: LogId, offset: int) -> None:
        """G1: the group's offset was committed up to here."""
        for user, mailbox in self.mailboxes.items():
            lost = [
                place
                for place in self._places(user, log, 0, offset)
                if place not in mailbox.account.visible
                and place[1] > mailbox.account.effective.get(log, -1)
                and not self._excused(place)
            ]
            if lost:
                raise Violation("COMMITTED-UNWRITTEN", f"{user} {lost}")

    # ---- checks of pages

    def page(self, asked: "Asked", page: Page, end: Receipt | None) -> Chain:
        """One page of a chain."""
        user, chain, view = asked.user, asked.chain, asked.view
        places = [(m.position.log, m.position.offset) for m in page.messages]
        self._stand_in_log(user, places)
        before, last = set(chain.shown), dict(chain.shown)
        if before.intersection(places):
            raise Violation("TWICE", f"{asked} {places} after {chain.shown}")
        # A device that was added or removed meanwhile may see again what it had.
        self._in_order(
            str(asked), places, asked.floors() if view.generation == asked.generation else {}
        )
        for log, offset in places:
            if offset < last.get(log, -1) and not asked.since:
                raise Violation("ORDER", f"{asked} {places} after {chain.shown}")
        identities = [i for i in map(self._identity, places) if i is not None]
        if len(set(identities)) < len(identities):
            raise Violation("DOUBLE", f"{asked} {places}")
        if page.more and not page.messages:
            raise Violation("EMPTY-PAGE", f"{asked} with more behind it")
        if end is None:
            return Chain()
        self._all_accounted_for(asked, end, places, identities)
        shown = places if asked.since else chain.shown + places
        removals = asked.removals if chain.token is None else chain.removals
        return Chain(page.receipt, end, shown, chain.returned + places, removals)

    def _all_accounted_for(
        self, asked: "Asked", end: Receipt, places: Sequence[Place], identities: Sequence[object]
    ) -> None:
        """What was passed was returned, or need not be: an acknowledgement may cover it."""
        mailbox, view = self.mailboxes[asked.user], asked.view
        begin = asked.begin()
        account = mailbox.account.effective
        reads_account = (
            asked.reads_account or view.cursor is None or view.generation != asked.generation
        )
        for log, reach in end.logs.items():
            own = max(asked.at.get(log, -1), (view.cursor or {}).get(log, -1))
            for place in self._places(asked.user, log, begin.get(log, -1) + 1, reach.read_to + 1):
                if (
                    place in places
                    or self._identity(place) in identities
                    or (not asked.reads_account and place[1] <= own)
                    or self._expired(place)
                ):
                    view.passed.add(place)
                elif reads_account and place[1] <= max(account.get(log, -1), own):
                    view.inherited.add(place)
                elif not self._excused(place) and place not in mailbox.deleted:
                    raise Violation("PAGE-SKIPS", f"{asked} {place}: {places} of {view.now}")

    def undisturbed(self, asked: "Asked", limit: int | None, page: Page) -> None:
        """A page of a mailbox that nobody wrote to meanwhile is exact, and so is its `more`.

        It may be shorter than its limit: how much one Query takes is the store's to say.
        """
        places = [(m.position.log, m.position.offset) for m in page.messages]
        now = self._behind(asked)
        # What one version takes for a dead letter stands in a bundle that was read ahead, or in the
        # one that has replaced it since.
        for shown, there in ((places, now), (self._alive(places), self._alive(now))):
            expected = self._each_once(there, len(shown))
            behind = len(shown) < len(expected)
            if (
                shown == expected[: len(shown)]
                and (page.more == behind or (there != now and page.more))
                and (shown or not expected)
                and (limit is None or len(places) <= limit)
            ):
                return
        raise Violation("PAGE", f"{asked} {places}, {page.more}; there is {now}")

    def _behind(self, asked: "Asked") -> list[Place]:
        """What a full reading has behind the receipt that a page was asked with."""
        behind, receipt, first = asked.begin(), asked.chain.receipt, LogId(0, 0)
        if receipt is not None and not asked.since and receipt.boundary[0] != "!":
            # It does not go back to a log before the one it is in.
            first = LogId.decode(receipt.boundary[:10])
        return [
            (log, offset)
            for log, offset in asked.view.now
            if log >= first and offset > behind.get(log, -1)
        ]

    def _alive(self, places: Iterable[Place]) -> list[Place]:
        return [place for place in places if place not in self._topic.dead]

    def _each_once(self, places: Iterable[Place], in_page: int) -> list[Place]:
        """Without the resends of what is within a page of so many messages."""
        found: list[Place] = []
        seen: set[object] = set()
        for place in places:
            twin = self._identity(place)
            if twin in seen:
                continue
            found.append(place)
            if twin is not None and len(found) <= in_page:
                seen.add(twin)
        return found


@dataclass
class Asked:
    """What a page was asked for, and how its device's cursor stood then.

    since: the chain's receipt counts as acknowledged; else the page is behind it.
    """

    user: str
    device: str | None
    chain: Chain
    since: bool
    view: View
    at: Cursor = field(default_factory=dict)
    reads_account: bool = False
    generation: int = 0
    removals: int = 0

    def __post_init__(self) -> None:
        self.at = dict(self.view.effective)
        self.reads_account = self.view.cursor is None
        self.generation = self.view.generation
        self.removals = self.view.removals

    def __str__(self) -> str:
        return f"{self.user} {self.device or ''}{' since' if self.since else ''}"

    def begin(self) -> Cursor:
        """Per log, up to where the receipt has it."""
        receipt = self.chain.receipt
        logs = {} if receipt is None else receipt.logs
        return {log: r.ackable_to if self.since else r.read_to for log, r in logs.items()}

    def floors(self) -> Cursor:
        """At or below which nothing may be shown."""
        found = dict(self.at)
        for log, offset in self.begin().items() if self.since else ():
            found[log] = max(offset, found.get(log, -1))
        return found
