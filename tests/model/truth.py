"""What must be true after every step, whatever has happened: the guarantees G1 to G6, as checks.

Full readings are made by the production code, over the table as it is.
"""

from collections.abc import Iterable, Sequence
from unittest.mock import patch

from poste_restante import reading as reading_module
from poste_restante.item import Item, decode_bundle
from poste_restante.mailboxes import Page
from poste_restante.memory import InMemoryTable
from poste_restante.message import Message
from poste_restante.position import CURSOR_KEY, LogId, mailbox_key
from poste_restante.reading import Reading
from poste_restante.receipt import Reach, Receipt
from poste_restante.table import Cursor, decode_cursor
from tests.model.ledger import Chain, Ledger, Mailbox, Place, Violation
from tests.model.topic import USERS, Topic
from tests.records import TOPIC


class _Forgetful(set[tuple[str, str, bytes]]):
    """Remembers no identity: a reading with it shows resends as well."""

    def __contains__(self, _: object) -> bool:
        return False


class Truth(Ledger):
    """The checks."""

    def __init__(self, topic: Topic, table: InMemoryTable) -> None:
        super().__init__(topic, table)
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
        with patch.object(reading_module, "decode_bundle", self._decoded_once):
            reading.add(items)
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
        places = [(m.position.log, m.position.offset) for m in page.messages]
        self._stand_in_log(user, places)
        before, last = set(chain.shown), dict(chain.shown)
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
        self._all_accounted_for(user, chain, end, places, identities)
        return Chain(page.receipt, end, chain.shown + places)

    def _all_accounted_for(
        self,
        user: str,
        chain: Chain,
        end: Receipt,
        places: Sequence[Place],
        identities: Sequence[object],
    ) -> None:
        """What was passed was returned, or need not be: an acknowledgement may cover it."""
        mailbox = self.mailboxes[user]
        begin = {} if chain.receipt is None else chain.receipt.logs
        for log, reach in end.logs.items():
            passed = begin[log].passed if log in begin else -1
            for place in self._places(user, log, passed + 1, reach.passed + 1):
                if (
                    place in places
                    or self._identity(place) in identities
                    or place[1] <= mailbox.cursor.get(log, -1)
                    or self._expired(place)
                ):
                    mailbox.passed.add(place)
                elif not self._excused(place):
                    raise Violation("PAGE-SKIPS", f"{user} {place}: {places} of {mailbox.now}")

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
