"""Verifies guarantee G1 on a live system: every record of a range is where it must be.

A record below progress is in its mailbox, where a reader finds it, or in the dead-letter topic. If
the account's cursor has passed it, or it has expired, it may be deleted. This module shares no code
with the flush, neither its decoder nor its bundles.
"""

import asyncio
import hashlib
import json
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from poste_restante.devices import require_cursor
from poste_restante.errors import MailboxError
from poste_restante.item import Item, decode_bundle
from poste_restante.position import CURSOR_KEY, BundleKey, LogId, mailbox_key
from poste_restante.store import DynamoDBMailboxStore
from poste_restante.table import PURGED_AT_ATTRIBUTE
from worker.cli.admin_client import PartitionStatus, admin_client_of
from worker.cli.bar import ProgressBar
from worker.cli.dead_letter_topic import open_dead_letter_topic
from worker.cli.deadline_store import open_deadline_store
from worker.cli.stored_letter import DeadLetterSelection, RecordPlace, StoredDeadLetter, body_crc
from worker.dynamodb.retrying_store import mailbox_store
from worker.errors import OperatorError
from worker.kafka.admin import open_kafka_admin
from worker.kafka.log_reader import LogRange, LogSlice, open_log_reader
from worker.kafka.options import client_options
from worker.record import TIMESTAMP_MS_MIN, Record
from worker.settings import Settings

#: Missing records until the dead-letter topic is searched.
SUSPECTS_MAX = 100_000
#: Records of a partition that are searched together: those of one user take one Query.
TOGETHER_MAX = 5_000
#: Limit of one Query in bundles.
BUNDLES_PER_QUERY_MAX = 100
#: Listed problems. Further ones are counted.
PROBLEMS_MAX = 100


class Outcome(StrEnum):
    """The result for one record: where it is, or the problem."""

    STORED = "stored"
    ACKNOWLEDGED = "acknowledged"
    PURGED = "purged"
    EXPIRED = "expired"
    DEAD_LETTER = "dead_letter"
    #: It cannot be a message, and dead letters were removed from their topic.
    REMOVED = "removed"
    MISSING = "missing"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"

    @property
    def is_problem(self) -> bool:
        return self in {Outcome.MISSING, Outcome.DAMAGED, Outcome.UNREADABLE}


@dataclass(frozen=True, slots=True)
class ExpectedRecord:
    """One record, without its body. user_id: None: it cannot be a message. digest: of the body.
    letter: the identity of its dead letter. expires_ms: None: never."""

    place: RecordPlace
    user_id: str | None
    digest: bytes
    letter: tuple[RecordPlace | None, int | None, int]
    expires_ms: int | None


@dataclass(frozen=True, slots=True)
class RecordProblem:
    """One record that is not where it must be."""

    place: RecordPlace
    outcome: Outcome
    user_id: str | None
    detail: str


@dataclass(slots=True)
class PartitionReport:
    """The results of one partition. removed: offsets that retention has removed, or None."""

    partition: int
    range: LogRange
    removed: LogRange | None = None
    outcomes: Counter[Outcome] = field(default_factory=Counter)

    @property
    def checked(self) -> int:
        return self.outcomes.total()


@dataclass(slots=True)
class VerifyReport:
    """The results of all partitions."""

    partitions: dict[int, PartitionReport]
    problems: list[RecordProblem] = field(default_factory=list)

    @property
    def checked(self) -> int:
        return sum(each.checked for each in self.partitions.values())

    @property
    def problem_count(self) -> int:
        return sum(
            count
            for each in self.partitions.values()
            for outcome, count in each.outcomes.items()
            if outcome.is_problem
        )

    def add(self, expected: ExpectedRecord, outcome: Outcome, detail: str = "") -> None:
        """Count one record."""
        self.partitions[expected.place.partition].outcomes[outcome] += 1
        if outcome.is_problem and len(self.problems) < PROBLEMS_MAX:
            self.problems.append(RecordProblem(expected.place, outcome, expected.user_id, detail))


def build_expected(record: Record, retention_ms: int) -> ExpectedRecord:
    """Return the expectation for a record. Pure."""
    user_id = None
    if record.value is not None:
        try:
            user_id = (record.key or b"").decode()
            mailbox_key(user_id)
        except ValueError:
            user_id = None
    place = RecordPlace(record.partition, record.offset)
    return ExpectedRecord(
        place, user_id, _digest(record.value or b""),
        (place, record.timestamp, body_crc(record)), _expires_ms(record, retention_ms),
    )  # fmt: skip


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()


def _expires_ms(record: Record, retention_ms: int) -> int | None:
    """Return the earlier of the record's expiry and the retention's, parsed independently of the
    worker."""
    found = []
    if record.timestamp is not None and record.timestamp >= TIMESTAMP_MS_MIN:
        found.append(record.timestamp + retention_ms)
    named = dict(record.headers)
    text = (named.get("ce_expirytime") or b"").decode(errors="replace")
    content_type = (named.get("content-type") or b"").decode(errors="replace").lower()
    if content_type.startswith("application/cloudevents+json"):
        try:
            event = json.loads(record.value or b"")
            text = str(event.get("expirytime", "")) if isinstance(event, dict) else ""
        except (ValueError, RecursionError):
            text = ""
    try:
        own = datetime.fromisoformat(text.upper())
    except ValueError:
        own = None
    if own is not None and own.tzinfo is not None:
        found.append(int(own.timestamp() * 1000))
    return min(found, default=None)


class MailboxLookup:
    """Finds records in the mailboxes of one table, by key. epoch: of the log."""

    def __init__(self, store: DynamoDBMailboxStore, *, topic: str, epoch: int, now_ms: int) -> None:
        self._store = store
        self._topic = topic
        self._epoch = epoch
        self._now_ms = now_ms

    async def find(
        self, wanted: Iterable[ExpectedRecord]
    ) -> list[tuple[ExpectedRecord, Outcome, str]]:
        """Return the outcome of each record. All are of one partition."""
        by_user: dict[str, list[ExpectedRecord]] = {}
        found: list[tuple[ExpectedRecord, Outcome, str]] = []
        for each in wanted:
            if each.user_id is None:
                found.append((each, Outcome.MISSING, "it cannot be a message"))
            else:
                by_user.setdefault(each.user_id, []).append(each)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._find_of_user(u, of)) for u, of in by_user.items()]
        return found + [each for task in tasks for each in task.result()]

    async def _find_of_user(
        self, user_id: str, wanted: Sequence[ExpectedRecord]
    ) -> list[tuple[ExpectedRecord, Outcome, str]]:
        """Find records of one user. The cursor is read after the bundles, because a bundle deleted
        meanwhile was hidden before."""
        key, log = mailbox_key(user_id), LogId(self._epoch, wanted[0].place.partition)
        found, left = await self._find_in_bundles(key, user_id, log, wanted)
        if not left:
            return found
        items = (await self._store.query(key, only=CURSOR_KEY)).items
        passed = require_cursor(items[0]).get(log, -1) if items else -1
        hidden = Outcome.ACKNOWLEDGED
        if items and PURGED_AT_ATTRIBUTE in items[0]:
            hidden = Outcome.PURGED
        for each, outcome, detail in left:
            if each.place.offset <= passed:
                found.append((each, hidden, ""))
            elif each.expires_ms is not None and each.expires_ms <= self._now_ms:
                found.append((each, Outcome.EXPIRED, ""))
            else:
                found.append((each, outcome, detail))
        return found

    async def _find_in_bundles(
        self, key: str, user_id: str, log: LogId, wanted: Sequence[ExpectedRecord]
    ) -> tuple[
        list[tuple[ExpectedRecord, Outcome, str]], list[tuple[ExpectedRecord, Outcome, str]]
    ]:
        """Return the readable records, and the rest. A reader goes by key and drops passed offsets,
        so it reads a message in the first bundle that ends at or above it, or never."""
        ahead = deque(sorted(wanted, key=lambda each: each.place))
        found: list[tuple[ExpectedRecord, Outcome, str]] = []
        left: list[tuple[ExpectedRecord, Outcome, str]] = []
        while ahead:
            first = ahead[0].place.offset
            answer = await self._store.query(
                key,
                begin=None if first else log.head,
                above=log.after(first - 1) if first else None,
                up_to=f"{log.encode()}.~",
                limit=min(len(ahead) + 1, BUNDLES_PER_QUERY_MAX),
            )
            before = len(ahead)
            for item in answer.items:
                for each, outcome, detail in self._compare(
                    _take_covered(ahead, item), item, user_id
                ):
                    (found if outcome is Outcome.STORED else left).append((each, outcome, detail))
            if len(ahead) == before:
                break  # no bundle covers them
        left += [(each, Outcome.MISSING, "no bundle holds it") for each in ahead]
        return found, left

    def _compare(
        self, covered: Sequence[ExpectedRecord], item: Item, user_id: str
    ) -> list[tuple[ExpectedRecord, Outcome, str]]:
        if not covered:
            return []
        position = item["position"]["S"]
        try:
            messages = decode_bundle(item, user_id, self._topic)
        except ValueError as error:
            return [(each, Outcome.DAMAGED, f"{position}: {error}") for each in covered]
        bodies = {message.position.offset: message.body for message in messages}
        held = []
        for each in covered:
            body = bodies.get(each.place.offset)
            if body is None:
                held.append((each, Outcome.MISSING, f"{position} does not hold it"))
            elif _digest(body) != each.digest:
                held.append((each, Outcome.DAMAGED, f"{position} has another body"))
            else:
                held.append((each, Outcome.STORED, ""))
        return held


def _take_covered(ahead: deque[ExpectedRecord], item: Item) -> list[ExpectedRecord]:
    """Remove and return the records that a reader passes with this item: none, if it is of another
    version."""
    try:
        last = BundleKey.decode(item["position"]["S"]).last
    except ValueError:
        return []
    covered = []
    while ahead and ahead[0].place.offset <= last:
        covered.append(ahead.popleft())
    return covered


@dataclass(frozen=True, slots=True)
class VerifySelection:
    """The selected records. offset: the first one, of one partition. share: of all records, chosen
    at random."""

    partitions: tuple[int, ...] = ()
    offset: int | None = None
    since_ms: int | None = None
    share: float = 1.0


def verifiable_range(
    status: PartitionStatus, epoch: int, first: int | None
) -> tuple[LogRange, LogRange | None]:
    """Return the verifiable range of a partition, below progress, in the table and the log; and the
    range that retention has removed. first: the first selected offset. Raises OperatorError for
    progress of another epoch."""
    progress = status.progress
    if progress is None:
        return LogRange(status.log.start, status.log.start), None
    if progress.epoch != epoch:
        raise OperatorError(
            f"partition {status.partition} cannot be verified: its progress is of epoch"
            f" {progress.epoch}, and the table's epoch is {epoch}: run `poste epoch --yes` again"
        )
    end = min(progress.next, status.log.stable_end)
    wanted = min(progress.origin if first is None else max(first, progress.origin), end)
    begin = min(max(wanted, status.log.start), end)
    return LogRange(begin, end), LogRange(wanted, begin) if begin > wanted else None


class LogRangeReader(Protocol):
    """Reads ranges of the topic, as `LogReader` does."""

    def read(self, partition: int, wanted: LogRange) -> AsyncIterator[LogSlice]: ...


class LogRanges(Protocol):
    """Returns the ranges of a topic, as `LogReader` does."""

    async def ranges(self, partitions: Iterable[int]) -> dict[int, LogRange]: ...


class DeadLetterSource(Protocol):
    """The dead-letter topic, as in `DeadLetterTopic`."""

    @property
    def reader(self) -> LogRanges: ...
    @property
    def partitions(self) -> int: ...
    def letters(
        self, selection: DeadLetterSelection, bar: ProgressBar
    ) -> AsyncIterator[StoredDeadLetter]: ...


class Verification:
    """One run. chance: returns a random number from 0 to 1."""

    def __init__(
        self, reader: LogRangeReader, mailboxes: MailboxLookup, dead_letters: DeadLetterSource, *,
        share: float, retention_ms: int, chance: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        self._reader = reader
        self._mailboxes = mailboxes
        self._dead_letters = dead_letters
        self._share = share
        self._retention_ms = retention_ms
        self._random = chance
        self._suspects: dict[tuple[RecordPlace | None, int | None, int], ExpectedRecord] = {}

    async def run(
        self, ranges: Mapping[int, tuple[LogRange, LogRange | None]], bar: ProgressBar
    ) -> VerifyReport:
        """Verify these ranges. The second of each pair is removed by retention."""
        report = VerifyReport({p: PartitionReport(p, r, gone) for p, (r, gone) in ranges.items()})
        bar.begin(sum(wanted.size for wanted, _ in ranges.values()))
        for partition, (wanted, _) in ranges.items():
            async for expected in self._expected(partition, wanted, report, bar):
                for each, outcome, detail in await self._mailboxes.find(expected):
                    if outcome is Outcome.MISSING:
                        self._suspects[each.letter] = each
                    else:
                        report.add(each, outcome, detail)
                if len(self._suspects) >= SUSPECTS_MAX:
                    await self._resolve_suspects(report)
        await self._resolve_suspects(report)
        return report

    async def _expected(
        self, partition: int, wanted: LogRange, report: VerifyReport, bar: ProgressBar
    ) -> AsyncIterator[list[ExpectedRecord]]:
        of, together = report.partitions[partition], list[ExpectedRecord]()
        async for part in self._reader.read(partition, wanted):
            bar.advance(part.next - part.first)
            if part.gone:
                of.removed = LogRange(of.removed.first if of.removed else part.first, part.next)
            if part.unreadable:
                place = RecordPlace(partition, part.first)
                unknown = ExpectedRecord(place, None, b"", (place, None, 0), None)
                report.add(unknown, Outcome.UNREADABLE, "the client cannot decode it")
            chosen = [r for r in part.records if self._share >= 1 or self._random() < self._share]
            together += [build_expected(record, self._retention_ms) for record in chosen]
            if len(together) >= TOGETHER_MAX:
                yield together
                together = []
        if together:
            yield together

    async def _resolve_suspects(self, report: VerifyReport) -> None:
        """Find the missing records among the dead letters, then in the mailboxes again: they may
        have been acknowledged and deleted meanwhile."""
        if not self._suspects:
            return
        async for letter in self._dead_letters.letters(DeadLetterSelection(), ProgressBar()):
            if not letter.foreign:
                expected = self._suspects.pop(letter.identity(), None)
                if expected is not None:
                    report.add(expected, Outcome.DEAD_LETTER)
        by_partition: dict[int, list[ExpectedRecord]] = {}
        for expected in self._suspects.values():
            by_partition.setdefault(expected.place.partition, []).append(expected)
        self._suspects.clear()
        held = await self._dead_letters.reader.ranges(range(self._dead_letters.partitions))
        removed = any(each.first > 0 for each in held.values())
        for left in by_partition.values():
            for each, outcome, detail in await self._mailboxes.find(left):
                if outcome is Outcome.MISSING and removed:
                    if each.user_id is None:
                        report.add(each, Outcome.REMOVED)
                        continue
                    detail += ", or its dead letter was removed"  # noqa: PLW2901 - one more reason
                report.add(each, outcome, detail)


async def verify(
    settings: Settings, wanted: VerifySelection, *, now_ms: int, bar: ProgressBar
) -> VerifyReport:
    """Verify a range of the log. Raises OperatorError, also if nothing of it is left."""
    kafka = settings.kafka
    async with (
        open_deadline_store(settings.dynamodb) as store,
        open_kafka_admin(kafka) as admin_of_kafka,
        admin_client_of(settings, admin_of_kafka, store) as admin,
        open_dead_letter_topic(kafka) as dead_letters,
        open_log_reader(client_options(kafka), kafka.topic) as reader,
    ):
        statuses = await admin.partition_statuses(wanted.partitions or None)
        firsts: dict[int, int | None] = dict.fromkeys(
            (s.partition for s in statuses), wanted.offset
        )
        if wanted.since_ms is not None:
            firsts = await reader.offsets_at(firsts, wanted.since_ms)
            firsts = {s.partition: _first_offset(firsts[s.partition], s) for s in statuses}
        ranges = {
            s.partition: verifiable_range(s, admin.table.epoch, firsts[s.partition])
            for s in statuses
        }
        _require_something(ranges)
        mailboxes = mailbox_store(store, settings.dynamodb.table)
        work = Verification(
            reader,
            MailboxLookup(mailboxes, topic=kafka.topic, epoch=admin.table.epoch, now_ms=now_ms),
            dead_letters,
            share=wanted.share,
            retention_ms=int(settings.retention_days * 24 * 3600 * 1000),
        )
        try:
            return await work.run(ranges, bar)
        except* (OperatorError, MailboxError) as errors:
            raise _first_error(errors) from None


def _first_offset(found: int | None, status: PartitionStatus) -> int | None:
    """Return the first offset at a time. None at the log's start, before which the log is
    unknown."""
    if found is None:
        return status.log.end
    return None if found <= status.log.start else found


def _require_something(ranges: Mapping[int, tuple[LogRange, LogRange | None]]) -> None:
    gone = [(partition, gone) for partition, (_, gone) in ranges.items() if gone is not None]
    if gone and not any(wanted.size for wanted, _ in ranges.values()):
        partition, (first, end) = gone[0]
        raise OperatorError(
            f"there is nothing to verify: retention has removed offsets {first} to {end - 1} of"
            f" partition {partition}"
        )


def _first_error(errors: BaseExceptionGroup) -> OperatorError:
    """Return the first error of a group, as one line."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, OperatorError) else OperatorError(str(error))
