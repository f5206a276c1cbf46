"""The verification of a range of the log: what it finds, and that it notices what is wrong."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from poste_restante.item import encode_bundle
from poste_restante.message import Message
from poste_restante.position import LogId, Position
from poste_restante.store import DynamoDBMailboxStore
from tests.fake_table import InMemoryTable
from tests.records import NEW_YEAR_MS, TOPIC, MadeRecord, stable_log
from tests.store_client import store_on
from tests.unit.test_cli import schema
from tests.unit.test_imports import imports_of_names
from worker.cli import audit_rendering, verifying
from worker.cli.admin_client import PartitionStatus
from worker.cli.bar import ProgressBar
from worker.cli.stored_letter import DeadLetterSelection, StoredDeadLetter, parse_dead_letter
from worker.cli.verifying import (
    MailboxLookup,
    Outcome,
    Verification,
    VerifyReport,
    build_expected,
    verifiable_range,
)
from worker.dead_letters import DeadLetter, dead_letter_headers
from worker.errors import DeadLetterReason, OperatorError
from worker.kafka.log_reader import LogRange, LogSlice
from worker.progress import Progress
from worker.settings import Settings

DAY_MS = 24 * 3600 * 1000
LOG = LogId(1, 3)


class Reader:
    """The log of partition 3, in slices of three records."""

    def __init__(self, records: Sequence[MadeRecord], before: Callable[[], None]) -> None:
        self._records = records
        self._before = before

    async def read(self, partition: int, wanted: LogRange) -> AsyncIterator[LogSlice]:
        assert partition == 3
        for begin in range(wanted.first, wanted.end, 3):
            end = min(begin + 3, wanted.end)
            yield LogSlice(begin, end, [r for r in self._records if begin <= r.offset < end])
        self._before()


class DeadLetterTopic:
    """The dead letters of these records. begins: the first offset that is there."""

    partitions = 1

    def __init__(self, letters: Sequence[StoredDeadLetter], begins: int = 0) -> None:
        self._letters = letters
        self._begins = begins

    @property
    def reader(self) -> "DeadLetterTopic":
        return self

    async def ranges(self, partitions: Iterable[int]) -> dict[int, LogRange]:
        return {p: LogRange(self._begins, self._begins + len(self._letters)) for p in partitions}

    async def letters(
        self, selection: DeadLetterSelection, bar: ProgressBar
    ) -> AsyncIterator[StoredDeadLetter]:
        for letter in self._letters:
            yield letter


def dead(record: MadeRecord) -> StoredDeadLetter:
    headers = dead_letter_headers(DeadLetter(record, DeadLetterReason.NO_BODY, ""))
    return parse_dead_letter(replace(record, headers=headers, partition=0, offset=0), TOPIC)


class World:
    """Records 0 to 9 of users a and b, in turn, each stored in bundles of two."""

    def __init__(self) -> None:
        self.table = InMemoryTable()
        self.records = [
            MadeRecord(key=b"ab"[n % 2 : n % 2 + 1], value=b"%d" % n, offset=n) for n in range(10)
        ]
        for first in (0, 1, 4, 5):
            self.put(first, first + 2)
        self.put(8)
        self.put(9)
        self.dead: list[StoredDeadLetter] = []
        self.removed_to = 0
        self.share = 1.0
        self.after_reading: Callable[[], None] = lambda: None

    def put(self, *offsets: int, body: bytes | None = None) -> None:
        """A bundle of these records."""
        made = [
            Message(
                user_id="ab"[offset % 2], id=f"i{offset}", position=Position(1, 3, offset),
                body=b"%d" % offset if body is None else body,
            )
            for offset in offsets
        ]  # fmt: skip
        item = encode_bundle(made, TOPIC)
        self.table.items[item["user_id"]["S"], item["position"]["S"]] = item

    def delete(self, user: str, first: int, last: int) -> None:
        self.table.items.pop((user, f"0001.00003.{last:019}.{first:019}"))

    def cursor(self, user: str, offset: int, position: str = "!", **more: str) -> None:
        self.table.items[user, position] = {
            "user_id": {"S": user}, "position": {"S": position}, LOG.encode(): {"N": str(offset)},
            **{name: {"N": value} for name, value in more.items()},
        }  # fmt: skip

    async def verified(self, now_ms: int = NEW_YEAR_MS) -> VerifyReport:
        store = DynamoDBMailboxStore(store_on(self.table), "mailboxes", calls_in_flight_max=16)
        work = Verification(
            Reader(self.records, self.after_reading),
            MailboxLookup(store, topic=TOPIC, epoch=1, now_ms=now_ms),
            DeadLetterTopic(self.dead, self.removed_to),
            share=self.share, retention_ms=30 * DAY_MS, chance=iter(range(99)).__next__,
        )  # fmt: skip
        return await work.run({3: (LogRange(0, len(self.records)), None)}, ProgressBar())


def outcomes(report: VerifyReport) -> dict[str, int]:
    return {str(name): count for name, count in report.partitions[3].outcomes.items()}


async def test_what_is_stored_is_found() -> None:
    """In bundles that overlap as well, as a replay leaves them (G1)."""
    world = World()
    world.put(0, 2, 4)
    report = await world.verified()

    assert outcomes(report) == {"stored": 10}
    assert (report.checked, report.problem_count) == (10, 0)


async def test_a_bundle_that_was_deleted_is_missing() -> None:
    """With user, place and reason (G1)."""
    world = World()
    world.delete("b", 5, 7)
    report = await world.verified()

    assert outcomes(report) == {"stored": 8, "missing": 2}
    assert [(p.place.offset, p.user_id, p.outcome) for p in report.problems] == [
        (5, "b", Outcome.MISSING), (7, "b", Outcome.MISSING),
    ]  # fmt: skip


async def test_a_message_that_no_reader_is_shown_is_missing() -> None:
    """A bundle that ends above it and does not hold it comes first by key: a reader drops what it
    has passed (G1, G5)."""
    world = World()
    world.delete("a", 4, 6)
    world.put(6)
    world.put(4, 8)
    report = await world.verified()

    assert [p.place.offset for p in report.problems] == [4]
    assert "does not hold it" in report.problems[0].detail


async def test_another_body_and_an_item_that_cannot_be_read_are_damaged() -> None:
    """Byte for byte (G1)."""
    world = World()
    world.put(8, body=b"other")
    item = world.table.items["b", f"0001.00003.{9:019}.{9:019}"]
    world.table.items["b", f"0001.00003.{9:019}.{9:019}"] = {**item, "v": {"N": "99"}}
    report = await world.verified()

    assert outcomes(report) == {"stored": 8, "damaged": 2}
    assert [p.place.offset for p in report.problems] == [8, 9]


@pytest.mark.parametrize(
    ("more", "outcome"), [({}, "acknowledged"), ({"purged_at": "5"}, "purged")]
)
async def test_what_the_accounts_cursor_has_passed_may_be_gone(
    more: dict[str, str], outcome: str
) -> None:
    """And what it has not may not; a device's cursor hides nothing from the others (G1, G12)."""
    world = World()
    for first, last in ((1, 3), (5, 7)):
        world.delete("b", first, last)
    world.cursor("b", 5, **more)
    world.cursor("b", 9, "!phone")
    report = await world.verified()

    assert outcomes(report) == {"stored": 6, outcome: 3, "missing": 1}
    assert report.problems[0].place.offset == 7


async def test_what_has_expired_may_be_gone() -> None:
    """By the retention, or by the record's own expiry in either mode (G1)."""
    world = World()
    world.table.items.clear()
    own = [("ce_expirytime", b"2026-01-01T00:00:05Z")]
    structured = b'{"expirytime": "2026-01-01T00:00:05+00:00"}'
    world.records[2] = replace(world.records[2], headers=own)
    world.records[3] = replace(
        world.records[3], value=structured,
        headers=[("content-type", b"application/cloudevents+json; charset=utf-8")],
    )  # fmt: skip
    world.records[4] = replace(world.records[4], headers=[("ce_expirytime", b"soon")])

    assert outcomes(await world.verified()) == {"missing": 10}
    assert outcomes(await world.verified(NEW_YEAR_MS + 5000)) == {"missing": 8, "expired": 2}
    assert outcomes(await world.verified(NEW_YEAR_MS + 30 * DAY_MS)) == {"expired": 10}
    world.records[5] = replace(world.records[5], timestamp=5)
    assert outcomes(await world.verified(NEW_YEAR_MS + 30 * DAY_MS)) == {
        "missing": 1, "expired": 9,
    }  # fmt: skip


async def test_what_is_in_the_dead_letter_topic_is_found_there() -> None:
    """By its place, key, value and time: one of an earlier epoch is another record (G1, G9)."""
    world = World()
    world.records[1] = replace(world.records[1], value=None)
    world.records[2] = replace(world.records[2], key=None)
    world.delete("a", 0, 2)
    world.delete("b", 1, 3)
    other = replace(world.records[3], timestamp=NEW_YEAR_MS - 1)
    world.dead = [dead(world.records[n]) for n in (0, 1, 2)] + [dead(other)]
    report = await world.verified()

    assert outcomes(report) == {"stored": 6, "dead_letter": 3, "missing": 1}
    assert report.problems[0].place.offset == 3


async def test_a_record_that_cannot_be_a_message_is_missing_unless_letters_were_removed() -> None:
    """The operator may have deleted handled ones (G1, G9)."""
    world = World()
    world.records[1] = replace(world.records[1], value=None)
    world.records[3] = replace(world.records[3], key=b"\xff")
    assert outcomes(await world.verified()) == {"stored": 8, "missing": 2}

    world.removed_to = 7
    world.delete("b", 5, 7)
    report = await world.verified()
    assert outcomes(report) == {"stored": 6, "removed": 2, "missing": 2}
    assert "or its dead letter was removed" in report.problems[0].detail


async def test_what_is_acknowledged_and_deleted_between_two_looks_is_not_missing() -> None:
    """A live system: what is found nowhere is looked for once more (G1)."""
    world = World()
    world.delete("b", 5, 7)
    world.after_reading = lambda: world.cursor("b", 7)

    assert outcomes(await world.verified()) == {"stored": 8, "acknowledged": 2}


async def test_suspects_are_settled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with what is missing; problems that are not listed are counted (G8)."""
    monkeypatch.setattr(verifying, "SUSPECTS_MAX", 2)
    monkeypatch.setattr(verifying, "PROBLEMS_MAX", 3)
    world = World()
    world.table.items.clear()
    report = await world.verified()

    assert (report.problem_count, len(report.problems)) == (10, 3)


async def test_a_sample_is_a_share_of_the_records() -> None:
    """Those for which chance says so."""
    world = World()
    world.share = 0.5  # chance returns 0, then 1 and more

    assert (await world.verified()).checked == 1


def progress(**more: int) -> Progress:
    return replace(
        Progress(table_id="t", epoch=1, next=50, origin=10, written_at_ms=0),
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("start", "first", "wanted", "gone"),
    [
        (0, None, (10, 50), None),  # below the origin the table does not hold the log
        (0, 20, (20, 50), None),
        (0, 5, (10, 50), None),
        (0, 99, (50, 50), None),
        (30, None, (30, 50), (10, 30)),
        (30, 20, (30, 50), (20, 30)),
        (30, 40, (40, 50), None),
        (60, None, (50, 50), (10, 50)),
    ],
)
def test_a_range_is_what_the_table_holds_and_the_log_still_has(
    start: int, first: int | None, wanted: tuple[int, int], gone: tuple[int, int] | None
) -> None:
    """What retention has removed is said (G1)."""
    status = PartitionStatus(3, stable_log(start, 100), progress(), None)

    assert verifiable_range(status, 1, first) == (wanted, gone)


def test_a_partition_that_has_not_begun_or_is_of_another_epoch() -> None:
    """There is nothing to verify; or it is refused."""
    assert verifiable_range(PartitionStatus(3, stable_log(5, 9), None, None), 1, None) == (
        (5, 5),
        None,
    )
    with pytest.raises(OperatorError, match="its progress is of epoch 2"):
        verifiable_range(PartitionStatus(3, stable_log(0, 9), progress(epoch=2), None), 1, None)


def test_a_record_is_known_by_what_it_is() -> None:
    """Its user, where it can have one (G1)."""
    assert build_expected(MadeRecord(), 0).user_id == "bob"
    for bad in (MadeRecord(key=None), MadeRecord(key=b""), MadeRecord(key=b"x" * 1025),
                MadeRecord(key=b"\xff"), MadeRecord(value=None)):  # fmt: skip
        assert build_expected(bad, 0).user_id is None
    assert (
        build_expected(MadeRecord(value=b"a"), 0).digest != build_expected(MadeRecord(), 0).digest
    )


async def test_verify_json_is_what_was_promised(capsys: pytest.CaptureFixture[str]) -> None:
    """For a program and a person."""
    world = World()
    world.delete("b", 5, 7)
    report = await world.verified()
    report.partitions[3].removed = LogRange(0, 5)
    for sample in (None, 2.5):
        jsonschema.validate(
            audit_rendering.verify_object(Settings(), report, sample), schema("verify")
        )
    audit_rendering.print_report(report)
    said = capsys.readouterr().out

    assert "retention has removed offsets 0 to 4" in said
    assert "missing: 3/5 of b: " in said
    assert "does not hold it" in said


def test_it_shares_no_code_with_the_flush() -> None:
    """A fault of decoder or bundles would hide itself (G1)."""
    flush = {"decode", "cloudevents", "entry", "fast_path", "bundles", "flush", "mailbox_writer"}
    assert verifying.__file__ is not None
    imported = set(imports_of_names(Path(verifying.__file__)))

    assert "worker.record" in imported
    assert not {name.split(".")[1] for name in imported if name.startswith("worker.")} & flush
