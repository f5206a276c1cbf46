"""One mailbox, as the account or a device sees it: what the log holds for it, what was shown of it
and acknowledged, and when. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tests.audit.journal import Ack, Addition, CursorSeen, Fetch, Outcome
from tests.audit.keys import Log
from tests.audit.log import LogRecord, Truth
from tests.audit.verdict import Verdict, ViolationKind

#: Offsets of one example that are written out.
_SHOWN_MAX = 5
#: A tick behind all others.
_NEVER = 2**63


@dataclass
class Rising:
    """The highest of some numbers that were known before a tick."""

    _events: list[tuple[int, int]] = field(default_factory=list)
    _ticks: list[int] = field(default_factory=list)
    _highest: list[int] = field(default_factory=list)

    def add(self, tick: int, number: int) -> None:
        self._events.append((tick, number))

    def ready(self) -> None:
        highest = -1
        for tick, number in sorted(self._events):
            highest = max(highest, number)
            self._ticks.append(tick)
            self._highest.append(highest)

    def before(self, tick: int) -> int:
        """-1: none."""
        index = bisect_left(self._ticks, tick)
        return self._highest[index - 1] if index else -1


class MailboxHistory:
    """Filled in any order of calls, then `ready`, then judged.

    device: None: the account. account: of a device, the account's history, which is ready first.
    Until a device has a cursor of its own it reads from the account's, and what the account has
    acknowledged may be deleted. So up to where the account stood then, a device need not be shown
    anything; what the account acknowledges later is none of its business.
    """

    def __init__(
        self,
        user: str,
        truth: Truth,
        device: str | None = None,
        account: "MailboxHistory | None" = None,
    ) -> None:
        self.user = user
        self.truth = truth
        self.device = device
        self.name = repr(user) if device is None else f"{user!r} {device}"
        self._account = account
        #: Ticks: from here on it may have a cursor, and from there on it has one.
        self._cursor_from, self._cursor_since = _NEVER, _NEVER
        self._begins_at_oldest = False
        #: Offsets, ascending, of what the log holds for this user and the mailbox must show.
        self.visible: dict[Log, list[int]] = {}
        self.fetches: list[Fetch] = []
        self.records: dict[tuple[Log, int], LogRecord] = {}
        self._acks: list[Ack] = []
        self._cursors: list[CursorSeen] = []
        self._shown: dict[Log, set[int]] = {}
        self._shown_identities: set[bytes] = set()
        #: At least this was covered, and at most that; and how far the log was shown.
        self._floor: dict[Log, Rising] = {}
        self._ceiling: dict[Log, Rising] = {}
        self._seen: dict[Log, Rising] = {}
        self._reached: dict[int, dict[Log, int]] = {}
        #: Per log, by instants in epoch microseconds, the highest offset that was appended before.
        self.appended_before: dict[Log, Rising] = {}
        if account is not None:  # one log for all
            self.visible, self.records = account.visible, account.records
            self.appended_before = account.appended_before

    # ---- filling

    def stands_in_log(self, partition: int, offset: int, record: LogRecord) -> None:
        """In ascending order of offsets."""
        log = Log(self.truth.epoch, partition)
        self.records[log, offset] = record
        if record.dead is None and offset >= self.truth.origins.get(partition, 0):
            self.visible.setdefault(log, []).append(offset)

    def appended(self, partition: int, offset: int, before_us: int) -> None:
        """A record was appended before an instant."""
        self.appended_before.setdefault(Log(self.truth.epoch, partition), Rising()).add(
            before_us, offset
        )

    def fetched(self, fetch: Fetch) -> None:
        self.fetches.append(fetch)

    def acknowledged(self, ack: Ack) -> None:
        self._acks.append(ack)

    def added(self, addition: Addition) -> None:
        self._gets_cursor(addition.began, addition.ended, addition.outcome)
        self._begins_at_oldest |= addition.start == "oldest"

    def _gets_cursor(self, began: int, ended: int | None, outcome: Outcome) -> None:
        self._cursor_from = min(self._cursor_from, began)
        if outcome is Outcome.CONFIRMED and ended is not None:
            self._cursor_since = min(self._cursor_since, ended)

    def cursor_seen(self, seen: CursorSeen) -> None:
        self._cursors.append(seen)

    def ready(self) -> None:
        for fetch in self.fetches:
            self._was_shown(fetch)
        self._shown_identities = self.identities(self._shown)
        for ack in self._acks:
            self._was_acknowledged(ack)
        for seen in self._cursors:
            for log, offset in seen.cursor.items():
                self._floor.setdefault(log, Rising()).add(seen.ended, offset)
        appended = self.appended_before if self._account is None else {}  # ready with the account's
        for risings in (self._floor, self._ceiling, self._seen, appended):
            for rising in risings.values():
                rising.ready()

    def _was_shown(self, fetch: Fetch) -> None:
        for log, offsets in fetch.offsets.items():
            assert fetch.ended is not None, "it has returned these"
            self._shown.setdefault(log, set()).update(offsets)
            self._seen.setdefault(log, Rising()).add(fetch.ended, max(offsets))

    def _was_acknowledged(self, ack: Ack) -> None:
        if ack.outcome is Outcome.REFUSED:
            return
        # Acknowledging any shown message creates the device's cursor, as the account stood when
        # that reading began.
        self._gets_cursor(ack.of.chain()[0].began, ack.ended if ack.covers else None, ack.outcome)
        twins = self._chain_identities(ack.of)
        for log, offset in ack.covers.items():
            most = self._with_twins(log, offset, twins)
            self._ceiling.setdefault(log, Rising()).add(ack.began, most)
            if ack.outcome is Outcome.CONFIRMED and ack.ended is not None:
                self._floor.setdefault(log, Rising()).add(ack.ended, offset)

    # ---- looking things up

    def floor(self, log: Log, tick: int) -> int:
        """Up to here, at least, was acknowledged before a tick. -1: nothing."""
        return self._floor[log].before(tick) if log in self._floor else -1

    def ceiling(self, log: Log, tick: int) -> int:
        """Up to here, at most, was acknowledged before a tick. -1: nothing."""
        return self._ceiling[log].before(tick) if log in self._ceiling else -1

    def inherited(self, log: Log, tick: int = _NEVER) -> int:
        """Up to here a device need not be shown what the account had acknowledged before a tick."""
        if self._account is None:
            return -1
        return self._account.ceiling(log, min(tick, self._cursor_since))

    def _inherited_floor(self, log: Log, tick: int) -> int:
        """Up to here a device must not be shown what the account had acknowledged before."""
        if self._account is None or self._begins_at_oldest:
            return -1
        return self._account.floor(log, min(tick, self._cursor_from))

    def identity(self, log: Log, offset: int) -> bytes | None:
        record = self.records.get((log, offset))
        return None if record is None else record.identity

    def identities(self, places: Mapping[Log, Iterable[int]]) -> set[bytes]:
        """What resends of these have in common with them."""
        found = (self.identity(log, o) for log, offsets in places.items() for o in offsets)
        return {identity for identity in found if identity is not None}

    def is_excused(self, log: Log, offset: int) -> bool:
        """It is a dead letter."""
        return (log.partition, offset) in self.truth.dead

    def was_shown(self, log: Log, offset: int) -> bool:
        """To anybody, ever; or a resend of it was."""
        return (
            offset in self._shown.get(log, ())
            or self.identity(log, offset) in self._shown_identities
        )

    def confirmed(self) -> dict[Log, int]:
        """How far was acknowledged, with success."""
        found: dict[Log, int] = {}
        for ack in self._acks:
            if ack.outcome is Outcome.CONFIRMED:
                for log, offset in ack.covers.items():
                    found[log] = max(found.get(log, -1), offset)
        return found

    def _chain_identities(self, fetch: Fetch) -> set[bytes]:
        found: set[bytes] = set()
        for page in fetch.chain():
            found |= self.identities(page.offsets)
        return found

    def _with_twins(self, log: Log, offset: int, twins: Collection[bytes]) -> int:
        """How far a receipt may reach: resends and dead letters behind the last one shown."""
        offsets = self.visible.get(log, [])
        for following in offsets[bisect_right(offsets, offset) :]:
            if not (self.is_excused(log, following) or self.identity(log, following) in twins):
                break
            offset = following
        return offset

    def _reached_by(self, fetch: Fetch | None) -> dict[Log, int]:
        """How far a reading had come with a page, in each log."""
        if fetch is None:
            return {}
        known = self._reached.get(fetch.number)
        if known is None:
            known = self._reached[fetch.number] = fetch.reached()
        return known

    # ---- judging

    def judge(self, fetch: Fetch, verdict: Verdict) -> None:
        """One page against all that was shown and acknowledged before it, and the log."""
        if fetch.failed == "UnreadableItem":
            verdict.found(ViolationKind.HIDDEN, f"{self._name(fetch)} met an item it cannot read")
        if fetch.more is None or fetch.ended is None:
            return
        before = self._reached_by(fetch.after)
        for log, offsets in fetch.offsets.items():
            self._content(fetch, log, verdict)
            self._order(fetch, log, before.get(log, -1), verdict)
            self._echo(fetch, log, verdict)
            self._gaps(fetch, log, sorted(set(offsets)), before.get(log, -1), verdict)
        if not fetch.more:
            self._vanished(fetch, verdict)
            self._fresh(fetch, verdict)

    def _name(self, fetch: Fetch) -> str:
        where = "since" if fetch.since else "behind"
        behind = "" if fetch.after is None else f" {where} {dict(self._reached_by(fetch.after))}"
        return f"{self.name} fetch {fetch.number}{behind}"

    def _content(self, fetch: Fetch, log: Log, verdict: Verdict) -> None:
        for offset, body in zip(fetch.offsets[log], fetch.bodies[log], strict=True):
            record = self.records.get((log, offset))
            if record is None:
                verdict.found(
                    ViolationKind.ALTERED, f"{self._name(fetch)}: {log} {offset} is not this user's"
                )
            elif record.body != body:
                verdict.found(
                    ViolationKind.ALTERED, f"{self._name(fetch)}: {log} {offset}: another body"
                )

    def _order(self, fetch: Fetch, log: Log, last: int, verdict: Verdict) -> None:
        for offset in fetch.offsets[log]:
            if offset <= last:
                kind = (
                    ViolationKind.DOUBLED
                    if self._times(fetch, log, offset) > 1
                    else ViolationKind.OUT_OF_ORDER
                )
                verdict.found(kind, f"{self._name(fetch)}: {log} {offset} after {last}")
            last = max(last, offset)

    @staticmethod
    def _times(fetch: Fetch, log: Log, offset: int) -> int:
        return sum(list(page.offsets.get(log, ())).count(offset) for page in fetch.chain())

    def _echo(self, fetch: Fetch, log: Log, verdict: Verdict) -> None:
        floor = max(self.floor(log, fetch.began), self._inherited_floor(log, fetch.began))
        echoed = [offset for offset in fetch.offsets[log] if offset <= floor]
        if echoed:
            verdict.found(
                ViolationKind.ECHOED,
                f"{self._name(fetch)}: {log} {echoed[:_SHOWN_MAX]}, acknowledged to {floor}",
            )

    def _gaps(
        self, fetch: Fetch, log: Log, offsets: list[int], last: int, verdict: Verdict
    ) -> None:
        """From where the reading stood to its last offset, nothing is left out."""
        if offsets:
            self._nothing_between(fetch, log, last, offsets[-1], set(offsets), verdict)

    def _vanished(self, fetch: Fetch, verdict: Verdict) -> None:
        """A reading that came to the mailbox's end has shown all that was shown before it."""
        head = fetch.head()
        reached = self._reached_by(fetch)
        for log, rising in self._seen.items():
            seen, end = rising.before(head.began), reached.get(log, -1)
            if seen > end:
                self._nothing_between(fetch, log, end, seen + 1, set(), verdict)

    def _fresh(self, fetch: Fetch, verdict: Verdict) -> None:
        """A reading to the mailbox's end lacks nothing that was appended before the instant up to
        which its first page was said to be complete."""
        fresh_us = fetch.head().fresh_us
        if fresh_us is None:
            return
        verdict.proofs += 1
        reached = self._reached_by(fetch)
        for log, rising in self.appended_before.items():
            before, end = rising.before(fresh_us), reached.get(log, -1)
            if before > end:
                self._nothing_between(
                    fetch, log, end, before + 1, set(), verdict, kind=ViolationKind.NOT_FRESH
                )

    def _nothing_between(
        self, fetch: Fetch, log: Log, low: int, high: int, shown: set[int], verdict: Verdict,
        *, kind: ViolationKind = ViolationKind.HIDDEN,
    ) -> None:  # fmt: skip
        """Nothing of the log above `low` and below `high` is missing, or it need not be shown."""
        assert fetch.ended is not None
        ceiling = max(self.ceiling(log, fetch.ended), self.inherited(log, fetch.ended))
        visible = self.visible.get(log, [])
        begin, end = bisect_right(visible, max(low, ceiling)), bisect_left(visible, high)
        missing = [o for o in visible[begin:end] if o not in shown]
        missing = [o for o in missing if not self.is_excused(log, o)]
        if missing:
            twins = self._chain_identities(fetch)
            missing = [o for o in missing if self.identity(log, o) not in twins]
        if missing:
            verdict.found(
                kind,
                f"{self._name(fetch)}: {log} {missing[:_SHOWN_MAX]} left out, {len(missing)} in"
                f" all, below {high}; acknowledged at most to {ceiling}",
            )

    def judge_cursors(self, verdict: Verdict) -> None:
        """What stands in the table never goes back."""
        for seen in self._cursors:
            for log, offset in seen.cursor.items():
                before = self.floor(log, seen.began)
                if offset < before:
                    verdict.found(
                        ViolationKind.ECHOED,
                        f"{self.user!r} {log}: the cursor is {offset}, acknowledged to {before}",
                    )
