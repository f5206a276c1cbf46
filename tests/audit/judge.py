"""Histories in, a Verdict out. Pure."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.audit.journal import Fetch, Journal, Outcome
from tests.audit.keys import Log, Mailbox
from tests.audit.log import Truth
from tests.audit.mailbox_history import MailboxHistory
from tests.audit.verdict import Verdict, ViolationKind


@dataclass
class FinalMailbox:
    """One mailbox after the drain. raw: as it stands in the table. reading: the last page of a
    whole reading through the product, by the account; None: it could not be read to its end.
    devices: the same of each device."""

    raw: Mailbox
    reading: Fetch | None = None
    devices: dict[str, Fetch | None] = field(default_factory=dict)


@dataclass
class Histories:
    """The histories of all mailboxes, sorted out of a journal and the truth: of each user's
    account, and of each device beside it."""

    journal: Journal
    truth: Truth
    of: dict[str, MailboxHistory] = field(init=False)
    devices: dict[str, dict[str, MailboxHistory]] = field(init=False)

    def __post_init__(self) -> None:
        users = {r.user for records in self.truth.records.values() for r in records.values()}
        users |= {fetch.user for fetch in self.journal.fetches}
        users |= {addition.user for addition in self.journal.additions}
        self.of = {user: MailboxHistory(user, self.truth) for user in users if user is not None}
        self.devices = {user: {} for user in self.of}
        self._logs()
        for fetch in self.journal.fetches:
            self._of(fetch.user, fetch.device).fetched(fetch)
        for ack in self.journal.acks:
            self._of(ack.user, ack.of.device).acknowledged(ack)
        for addition in self.journal.additions:
            self._of(addition.user, addition.device).added(addition)
        for seen in self.journal.cursors:
            if seen.user in self.of:
                self.of[seen.user].cursor_seen(seen)
        for history in self.all():  # accounts come first: their devices ask them
            history.ready()

    def _logs(self) -> None:
        for partition, records in sorted(self.truth.records.items()):
            for offset, record in sorted(records.items()):
                if record.user is None:
                    continue
                history = self.of[record.user]
                history.stands_in_log(partition, offset, record)
                sent = self.journal.produced.get(record.number or 0)
                if sent is not None and sent.appended_us is not None:
                    history.appended(partition, offset, sent.appended_us)

    def _of(self, user: str, device: str | None) -> MailboxHistory:
        account = self.of[user]
        if device is None:
            return account
        devices = self.devices[user]
        if device not in devices:
            devices[device] = MailboxHistory(user, self.truth, device, account)
        return devices[device]

    def all(self) -> Iterator[MailboxHistory]:
        yield from self.of.values()
        for devices in self.devices.values():
            yield from devices.values()


def judge(journal: Journal, truth: Truth, finals: Mapping[str, FinalMailbox]) -> Verdict:
    """Everything that can be said when all is over: workers drained, readers closed."""
    verdict = judge_readings(journal, truth)
    _produced(journal, truth, verdict)
    _dead_letters(truth, verdict)
    histories = Histories(journal, truth)
    for user, final in finals.items():
        if user in histories.of:
            _judge_final_mailbox(histories.of[user], final, verdict)
            for device, history in histories.devices[user].items():
                if (user, device) not in journal.removed:
                    _judge_final_mailbox(history, final, verdict)
    for user in histories.of.keys() - finals.keys():
        verdict.found(ViolationKind.LOST, f"{user!r}: the mailbox was not read in the end")
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
    for history in histories.all():
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
                ViolationKind.LOST,
                f"acknowledged by the broker at {produced.place}, not in the log",
            )


def _dead_letters(truth: Truth, verdict: Verdict) -> None:
    for partition, records in truth.records.items():
        for offset, record in records.items():
            letters = truth.dead.get((partition, offset), [])
            where = f"partition {partition} offset {offset}"
            if record.dead is None and not record.perhaps and letters:
                verdict.found(ViolationKind.DEAD_WITHOUT_CAUSE, f"{where}: {letters[0].reason}")
            if record.dead is None:
                if any(letter.copy != record.copy for letter in letters):
                    verdict.found(ViolationKind.DEAD_MISSING, f"{where}: not byte for byte")
                continue
            wrong = {letter.reason for letter in letters} - {record.dead}
            if wrong and not record.perhaps:
                verdict.found(
                    ViolationKind.DEAD_WITHOUT_CAUSE, f"{where}: {sorted(wrong)}, not {record.dead}"
                )
            if not any(letter.copy == record.copy for letter in letters):
                why = "not byte for byte" if letters else "no dead letter"
                verdict.found(ViolationKind.DEAD_MISSING, f"{where} ({record.dead}): {why}")
    for place in truth.dead:
        if place[1] not in truth.records.get(place[0], {}):
            verdict.found(ViolationKind.DEAD_WITHOUT_CAUSE, f"of no record of the log: {place}")


def _judge_final_mailbox(history: MailboxHistory, final: FinalMailbox, verdict: Verdict) -> None:
    """The mailbox after the drain: all of it acknowledged after it was shown, or there."""
    user, device = history.name, history.device
    if device is None:
        for key in final.raw.unreadable:
            verdict.found(ViolationKind.HIDDEN, f"{user}: an item that no reader accepts: {key}")
    shown = _shown(final.reading if device is None else final.devices.get(device))
    twins = history.identities(shown)
    stands = final.raw.cursor_of(device)
    for log, offsets in history.visible.items():
        cursor = stands.get(log, -1)
        inherited = history.inherited(log)
        for offset in offsets[bisect_right(offsets, inherited) :]:
            if history.is_excused(log, offset):
                continue
            if offset <= cursor:
                if not history.was_shown(log, offset):
                    verdict.found(
                        ViolationKind.HIDDEN,
                        f"{user} {log} offset {offset}: covered by the cursor {cursor},"
                        " never shown to anybody",
                    )
            elif offset not in shown.get(log, ()) and history.identity(log, offset) not in twins:
                there = "in the table" if final.raw.holds(log, offset) else "not in the table"
                verdict.found(
                    ViolationKind.LOST,
                    f"{user} {log} offset {offset}: not in the last reading, above the cursor"
                    f" {cursor}, {there}",
                )
    _confirmed(history, stands, verdict)


def _confirmed(history: MailboxHistory, stands: Mapping[Log, int], verdict: Verdict) -> None:
    """What was acknowledged is below the cursor that stands there in the end."""
    for log, offset in history.confirmed().items():
        if stands.get(log, -1) < offset:
            verdict.found(
                ViolationKind.ECHOED,
                f"{history.name} {log}: acknowledged to {offset}, and in the end the cursor is"
                f" {stands.get(log)}",
            )


def _shown(reading: Fetch | None) -> dict[Log, set[int]]:
    shown: dict[Log, set[int]] = {}
    for page in [] if reading is None else reading.chain():
        for log, offsets in page.offsets.items():
            shown.setdefault(log, set()).update(offsets)
    return shown
