"""Histories in, a Verdict out. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.audit.journal import Fetch, Journal, Outcome
from tests.audit.keys import Log, Mailbox
from tests.audit.log import Truth
from tests.audit.mailbox_history import MailboxHistory
from tests.audit.verdict import Kind, Verdict


@dataclass
class Final:
    """One mailbox after the drain. raw: as it stands in the table. reading: the last page of a
    whole reading through the product; None: it could not be read to its end."""

    raw: Mailbox
    reading: Fetch | None = None


@dataclass
class Histories:
    """The histories of all mailboxes, sorted out of a journal and the truth."""

    journal: Journal
    truth: Truth
    of: dict[str, MailboxHistory] = field(init=False)

    def __post_init__(self) -> None:
        users = {fetch.user for fetch in self.journal.fetches}
        for records in self.truth.records.values():
            users.update(r.user for r in records.values() if r.user is not None)
        self.of = {user: MailboxHistory(user, self.truth) for user in users}
        for partition, records in sorted(self.truth.records.items()):
            for offset, record in sorted(records.items()):
                if record.user is not None:
                    self.of[record.user].stands_in_log(partition, offset, record)
        for fetch in self.journal.fetches:
            self.of[fetch.user].fetched(fetch)
        for ack in self.journal.acks:
            self.of[ack.user].acknowledged(ack)
        for seen in self.journal.cursors:
            if seen.user in self.of:
                self.of[seen.user].cursor_seen(seen)
        for history in self.of.values():
            history.ready()


def judge(journal: Journal, truth: Truth, finals: Mapping[str, Final]) -> Verdict:
    """Everything that can be said when all is over: workers drained, readers closed."""
    verdict = judge_readings(journal, truth)
    _produced(journal, truth, verdict)
    _dead_letters(truth, verdict)
    histories = Histories(journal, truth)
    for user, final in finals.items():
        if user in histories.of:
            _final(histories.of[user], final, verdict)
    for user in histories.of.keys() - finals.keys():
        verdict.found(Kind.LOST, f"{user!r}: the mailbox was not read in the end")
    return verdict


def judge_readings(journal: Journal, truth: Truth) -> Verdict:
    """What readers were shown, and when, against their acknowledgements and the log."""
    histories = Histories(journal, truth)
    verdict = Verdict(
        records=truth.count(),
        fetches=len(journal.fetches),
        unanswered=sum(fetch.more is None for fetch in journal.fetches),
        readings=sum(f.after is None and f.more is not None for f in journal.fetches),
        acks=len(journal.acks),
        acks_unknown=sum(ack.outcome is Outcome.UNKNOWN for ack in journal.acks),
        dead_letters=len(truth.dead),
    )
    for history in histories.of.values():
        for fetch in history.fetches:
            history.judge(fetch, verdict)
        history.judge_cursors(verdict)
    return verdict


def _produced(journal: Journal, truth: Truth, verdict: Verdict) -> None:
    """What the broker has acknowledged stands where it said."""
    for produced in journal.produced.values():
        if produced.place is None:
            continue
        partition, offset = produced.place
        record = truth.records.get(partition, {}).get(offset)
        if record is None or record.number != produced.number:
            verdict.found(
                Kind.LOST, f"acknowledged by the broker at {produced.place}, not in the log"
            )


def _dead_letters(truth: Truth, verdict: Verdict) -> None:
    for partition, records in truth.records.items():
        for offset, record in records.items():
            letters = truth.dead.get((partition, offset), [])
            where = f"partition {partition} offset {offset}"
            if record.dead is None and not record.perhaps and letters:
                verdict.found(Kind.DEAD_WITHOUT_CAUSE, f"{where}: {letters[0].reason}")
            if record.dead is None:
                if any(letter.copy != record.copy for letter in letters):
                    verdict.found(Kind.DEAD_MISSING, f"{where}: not byte for byte")
                continue
            wrong = {letter.reason for letter in letters} - {record.dead}
            if wrong and not record.perhaps:
                verdict.found(
                    Kind.DEAD_WITHOUT_CAUSE, f"{where}: {sorted(wrong)}, not {record.dead}"
                )
            if not any(letter.copy == record.copy for letter in letters):
                why = "not byte for byte" if letters else "no dead letter"
                verdict.found(Kind.DEAD_MISSING, f"{where} ({record.dead}): {why}")
    for place in truth.dead:
        if place[1] not in truth.records.get(place[0], {}):
            verdict.found(Kind.DEAD_WITHOUT_CAUSE, f"of no record of the log: {place}")


def _final(history: MailboxHistory, final: Final, verdict: Verdict) -> None:
    """The mailbox after the drain: all of it acknowledged after it was shown, or there."""
    user = history.user
    for key in final.raw.unreadable:
        verdict.found(Kind.HIDDEN, f"{user!r}: an item that no reader accepts: {key}")
    shown = _shown(final.reading)
    twins = history.identities(shown)
    for log, offsets in history.visible.items():
        cursor = final.raw.cursor.get(log, -1)
        for offset in offsets:
            if history.is_excused(log, offset):
                continue
            if offset <= cursor:
                if not history.was_shown(log, offset):
                    verdict.found(
                        Kind.HIDDEN,
                        f"{user!r} {log} offset {offset}: covered by the cursor {cursor},"
                        " never shown to anybody",
                    )
            elif offset not in shown.get(log, ()) and history.identity(log, offset) not in twins:
                there = "in the table" if final.raw.holds(log, offset) else "not in the table"
                verdict.found(
                    Kind.LOST,
                    f"{user!r} {log} offset {offset}: not in the last reading, above the cursor"
                    f" {cursor}, {there}",
                )
    for log, offset in history.confirmed().items():
        if final.raw.cursor.get(log, -1) < offset:
            verdict.found(
                Kind.ECHOED,
                f"{user!r} {log}: acknowledged to {offset}, and in the end the cursor is"
                f" {final.raw.cursor.get(log)}",
            )


def _shown(reading: Fetch | None) -> dict[Log, set[int]]:
    shown: dict[Log, set[int]] = {}
    for page in [] if reading is None else reading.chain():
        for log, offsets in page.offsets.items():
            shown.setdefault(log, set()).update(offsets)
    return shown
