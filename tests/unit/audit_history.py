"""Histories made by hand, for the tests of the auditor's judge."""

import zlib
from collections.abc import Iterable

from tests.audit.journal import Ack, Fetch, Journal, Outcome, Outgoing
from tests.audit.judge import FinalMailbox, judge
from tests.audit.keys import Bundle, Log, Mailbox
from tests.audit.log import DeadLetter, Truth, log_record
from tests.audit.verdict import Verdict, ViolationKind

LOG = Log(1, 0)


def body(offset: int) -> bytes:
    return b"body %d" % offset


class History:
    """One partition of epoch 1, told step by step; then judged."""

    def __init__(self) -> None:
        #: The clock of producers and readers.
        self.now_us = 0
        self.journal = Journal(lambda: self.now_us)
        self.truth = Truth()
        self.finals: dict[str, FinalMailbox] = {}

    def log(
        self, user: str, *offsets: int, dead: str | None = None, resend: bytes | None = None
    ) -> None:
        """Records of a user; resend: all with this id and body, from one source."""
        for offset in offsets:
            headers = () if resend is None else (("ce_id", resend), ("ce_source", b"s"))
            value = body(offset) if resend is None else resend
            sent = self.journal.sending(
                Outgoing(key=user.encode(), value=value, headers=headers, dead=dead)
            )
            marked = (*headers, ("audit", b"%d" % sent.number))
            self.truth.records.setdefault(0, {})[offset] = log_record(
                user.encode(), value, marked, 1, self.journal.produced
            )
            self.journal.sent(sent, 0, offset)

    def die(self, offset: int, reason: str, *, altered: bool = False) -> None:
        """A dead letter of the record at an offset."""
        copy = b"another" if altered else self.truth.records[0][offset].copy
        self.truth.dead.setdefault((0, offset), []).append(DeadLetter(reason, copy))

    def fetch(
        self,
        *offsets: int,
        user: str = "bob",
        device: str | None = None,
        after: Fetch | None = None,
        more: bool = False,
        fresh_us: int | None = None,
    ) -> Fetch:
        fetch = self.journal.fetch_begins(user, after, device=device)
        self.returns(fetch, *offsets, more=more, fresh_us=fresh_us)
        return fetch

    def returns(
        self, fetch: Fetch, *offsets: int, more: bool = False, fresh_us: int | None = None
    ) -> None:
        records = self.truth.records[0]
        bodies = [records[o].body if o in records else zlib.crc32(body(o)) for o in offsets]
        messages = [(LOG, o, b) for o, b in zip(offsets, bodies, strict=True)]
        self.journal.fetch_ends(fetch, messages, more=more, fresh_us=fresh_us)

    def ack(self, fetch: Fetch, outcome: Outcome = Outcome.CONFIRMED) -> Ack:
        ack = self.journal.ack_begins(fetch)
        self.journal.ack_ends(ack, outcome)
        return ack

    def end(self, *shown: int, cursor: int = -1, user: str = "bob") -> Verdict:
        """The final state of this user's mailbox; then the verdict, without looks."""
        self.final(shown, cursor=cursor, user=user)
        return self.verdict()

    def final(self, shown: Iterable[int], *, cursor: int = -1, user: str = "bob") -> None:
        offsets = tuple(shown)
        raw = Mailbox(cursor={LOG: cursor} if cursor >= 0 else {})
        raw.bundles = [Bundle(LOG, o, o, {o: zlib.crc32(body(o))}) for o in offsets]
        self.finals[user] = FinalMailbox(raw, self.fetch(*offsets, user=user))

    def verdict(self) -> Verdict:
        found = judge(self.journal, self.truth, self.finals)
        found.observations = 1
        return found


def kinds(verdict: Verdict) -> set[ViolationKind]:
    return {kind for kind, count in verdict.counts.items() if count}
