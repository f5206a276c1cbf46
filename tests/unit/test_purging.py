"""A purge: what it hides and deletes, when its cursors expire, and what an interruption leaves."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from poste_restante import Mailboxes
from poste_restante.devices import DeviceStart
from poste_restante.item import Item, encode_bundle, from_milliseconds
from poste_restante.message import Message
from poste_restante.position import LogId, Position, mailbox_key
from poste_restante.table import TableRecord
from tests.fake_table import InMemoryTable
from tests.pages import page, table
from tests.records import TOPIC, stable_log
from tests.store_client import store_on
from tests.unit.test_cli import schema
from worker.cli import audit_rendering, purging
from worker.cli.admin_client import PartitionStatus
from worker.cli.purging import (
    LOGS_PER_UPDATE,
    SPARE_MS,
    LogEnds,
    MailboxPurge,
    PurgeResult,
    Retention,
)
from worker.errors import OperatorError
from worker.progress import Progress

NOW_MS = 1_767_225_600_000
DAY_MS = 24 * 3600 * 1000
#: Partition 3 holds offsets 0 to 99, partition 4 none.
ENDS = LogEnds({LogId(2, 3): 99}, {})
RETENTION = Retention(topic=14 * DAY_MS, table=30 * DAY_MS)
#: When the cursors of a purge at NOW_MS expire, in seconds.
EXPIRY_S = (NOW_MS + 30 * DAY_MS + SPARE_MS) // 1000


class Killed(Exception):  # noqa: N818 - said as a state
    """The command was killed."""


class World:
    """A mailbox in a table. before: called before each call of the store."""

    def __init__(self, user: str = "bob") -> None:
        self.user = user
        self.table = InMemoryTable()
        self.mailboxes = Mailboxes(self.table, clock=lambda: NOW_MS / 1000)
        record = TableRecord(table_id="t1", topic=TOPIC, partitions=5, epoch=2).encode()
        self.table.items["!table", "!"] = record

    def put(self, first: int, last: int, *, epoch: int = 2, expires: bool = True) -> None:
        """A bundle of the messages at these two offsets."""
        made = [self._message(epoch, offset, expires) for offset in sorted({first, last})]
        item = encode_bundle(made, TOPIC)
        self.table.items[item["user_id"]["S"], item["position"]["S"]] = item

    def _message(self, epoch: int, offset: int, expires: bool) -> Message:
        at = from_milliseconds(NOW_MS + 30 * DAY_MS) if expires else None
        position = Position(epoch, 3, offset)
        return Message(
            user_id=self.user, id=str(position), body=b"x", expires_at=at, position=position
        )

    def positions(self) -> list[str]:
        """The sort keys of the mailbox."""
        key = mailbox_key(self.user)
        return [position for user, position in sorted(self.table.items) if user == key]

    def cursor(self, position: str = "!") -> Item:
        return self.table.items[mailbox_key(self.user), position]

    async def shown(self, device: str | None = None) -> list[int]:
        pages = self.mailboxes.pages(self.user, device=device)
        return [m.position.offset async for page in pages for m in page.messages]

    async def ack(self, device: str | None = None) -> None:
        page = await self.mailboxes.fetch(self.user, device=device)
        await self.mailboxes.ack(self.user, page.receipt, device=device)

    def purge_(
        self, *, ends: LogEnds = ENDS, retention: Retention = RETENTION, at: int = NOW_MS
    ) -> MailboxPurge:
        return MailboxPurge(
            store_on(self.table), "mailboxes", self.user, ends=ends, retention=retention, now_ms=at
        )

    async def purge(self, **arguments: Any) -> PurgeResult:
        return await self.purge_(**arguments).purge()


async def a_mailbox(user: str = "bob") -> World:
    """Acknowledged and waiting bundles, an account and two devices."""
    world = World(user)
    world.put(0, 4)
    await world.ack()
    await world.mailboxes.add_device(user, "phone", "oldest")
    await world.mailboxes.add_device(user, "pad", "account")
    world.put(5, 9)
    world.put(50, 99)
    return world


@pytest.mark.parametrize("user", ["bob", "!table", "!", "!!x"])
async def test_a_purge_hides_and_deletes_everything_of_one_user(user: str) -> None:
    """On every device; what a replay writes again stays hidden; no item of the system or of
    another user is touched (G4)."""
    world, other = await a_mailbox(user), World("eve")
    other.table = world.table
    other.put(0, 4)
    record = dict(world.table.items["!table", "!"])
    purged = await world.purge()

    assert world.positions() == ["!", "!pad", "!phone"]
    assert (purged.cursors, purged.bundles, purged.changed) == (3, 3, 0)
    for first, last in ((0, 4), (5, 9), (50, 99), (7, 60)):
        world.put(first, last)
    for device in (None, "phone", "pad", "tv"):
        assert await world.shown(device) == []
    assert world.table.items["!table", "!"] == record
    assert len(other.positions()) == 1


async def test_what_arrives_behind_the_end_stays_and_is_shown() -> None:
    """A bundle that spans the end is kept, and what it holds below is hidden (G1, G4)."""
    world = await a_mailbox()
    world.put(98, 100)
    world.put(101, 105)
    purged = await world.purge()

    assert (purged.bundles, purged.newer) == (3, 2)
    assert await world.shown() == [100, 101, 105]


async def test_logs_that_are_gone_and_items_of_other_versions_are_deleted() -> None:
    """An earlier epoch's, a partition's that is no more, an unreadable key (G4)."""
    world = await a_mailbox()
    world.put(500, 501, epoch=1)
    world.table.items["bob", "9.9.x"] = {"user_id": {"S": "bob"}, "position": {"S": "9.9.x"}}
    await world.purge()

    assert world.positions() == ["!", "!pad", "!phone"]


async def test_a_dry_run_changes_nothing() -> None:
    """And says what would be done."""
    world = await a_mailbox()
    before = dict(world.table.items)
    seen = await world.purge_().preview()

    assert world.table.items == before
    assert (seen.cursors, seen.bundles, seen.expires_at_ms) == (3, 3, EXPIRY_S * 1000)


async def test_the_cursors_expire_when_nothing_can_come_back() -> None:
    """After the longer of both retentions; never where the topic keeps its records (G4)."""
    world = await a_mailbox()
    await world.purge()
    for position in ("!", "!pad", "!phone"):
        assert world.cursor(position)["expires_at"] == {"N": str(EXPIRY_S)}
    longer = Retention(topic=90 * DAY_MS, table=30 * DAY_MS)
    assert (await world.purge(retention=longer)).expires_at_ms == NOW_MS + 90 * DAY_MS + SPARE_MS
    # A shorter retention later on: what was said stays.
    assert (await world.purge()).expires_at_ms == NOW_MS + 90 * DAY_MS + SPARE_MS

    kept = await world.purge(retention=Retention(None, 30 * DAY_MS, "for ever"))
    assert (kept.expires_at_ms, kept.kept_because) == (None, "for ever")
    assert "expires_at" not in world.cursor()


async def test_a_message_from_the_future_is_hidden_for_as_much_longer() -> None:
    """The topic keeps it by its timestamp (G4)."""
    world = World()
    world.put(0, 1)
    (key,) = world.positions()
    world.table.items["bob", key]["expires_at"] = {"N": str((NOW_MS + 400 * DAY_MS) // 1000)}

    assert (await world.purge()).expires_at_ms == NOW_MS + 400 * DAY_MS + SPARE_MS


async def test_the_cursors_stay_where_a_message_never_expires() -> None:
    """Also in a second purge, which does not see it any more (G4)."""
    world = World()
    world.put(0, 1, expires=False)
    for _ in range(2):
        purged = await world.purge()
        assert purged.expires_at_ms is None
        assert "never expires" in purged.kept_because
        assert "expires_at" not in world.cursor()


@pytest.mark.parametrize("device", [None, "phone"])
async def test_a_cursor_that_is_used_again_does_not_expire(device: str | None) -> None:
    """A purged user comes back: what is acknowledged from then on may wait in bundles that live
    longer than the purge's expiry (G4). The cursors that nobody uses still go."""
    world = await a_mailbox()
    await world.purge()
    world.put(100, 101)
    await world.ack(device)
    used = world.cursor("!" if device is None else "!phone")

    assert "expires_at" not in used
    assert "purged_at" not in used
    assert used["0002.00003"] == {"N": "101"}
    assert "expires_at" in world.cursor("!pad")
    assert await world.shown(device) == []


@pytest.mark.parametrize("start", ["oldest", "newest", "account"])
async def test_a_device_that_is_added_later_begins_at_the_purge(start: DeviceStart) -> None:
    """Also when the account has moved on: a replay shows it nothing (G4, G12)."""
    world = await a_mailbox()
    await world.purge()
    world.put(100, 101)
    await world.ack()
    await world.mailboxes.add_device("bob", "tv", start)
    world.put(50, 99)

    assert await world.shown("tv") == ([100, 101] if start == "oldest" else [])


async def test_a_device_that_acknowledges_late_begins_at_the_purge() -> None:
    """It had no cursor, and fetched its page before (G4, G12)."""
    world = await a_mailbox()
    page = await world.mailboxes.fetch("bob", device="tv", limit=1)
    await world.purge()
    await world.mailboxes.ack("bob", page.receipt, device="tv")
    world.put(5, 9)
    world.put(50, 99)

    assert await world.shown("tv") == []


async def test_an_acknowledgement_that_raises_nothing_leaves_the_expiry() -> None:
    """A client that was shown something before the purge, and acknowledges it late (G6)."""
    world = await a_mailbox()
    page = await world.mailboxes.fetch("bob")
    await world.purge()
    await world.mailboxes.ack("bob", page.receipt)

    assert world.cursor()["expires_at"] == {"N": str(EXPIRY_S)}


def aside(table: InMemoryTable, operation: str, work: Callable[[], Any]) -> None:
    """Do something once, before the next such call."""

    def before(made: str, _key: str) -> None:
        if made == operation:
            table.before = lambda _operation, _key: None
            work()

    table.before = before


async def test_an_acknowledgement_during_a_purge_takes_its_expiry_away() -> None:
    """Of that cursor; the purge says so, and the next one sets it (G4)."""
    world = await a_mailbox()

    def acknowledge() -> None:  # of a message behind the end, as the reader's call leaves it
        cursor = world.cursor()
        cursor["0002.00003"] = {"N": "120"}
        del cursor["purged_at"]

    aside(world.table, "BatchWriteItem", acknowledge)
    purged = await world.purge()

    assert purged.changed == 1
    assert "expires_at" not in world.cursor()
    assert "expires_at" in world.cursor("!pad")
    assert (await world.purge(at=NOW_MS + 1)).changed == 0
    assert world.cursor()["0002.00003"] == {"N": "120"}
    assert "expires_at" in world.cursor()


async def test_a_device_that_appears_during_a_purge_is_raised_as_well() -> None:
    """It was made from the account's cursor of before (G4, G12)."""
    world = await a_mailbox()

    def add() -> None:
        made: Item = {"user_id": {"S": "bob"}, "position": {"S": "!tv"}, "0002.00003": {"N": "4"}}
        world.table.items["bob", "!tv"] = made

    aside(world.table, "BatchWriteItem", add)
    purged = await world.purge()
    world.put(5, 9)

    assert purged.cursors == 4
    assert await world.shown("tv") == []


async def test_devices_that_are_added_all_the_time_end_a_purge() -> None:
    """It does not go on for ever (G8)."""
    world = await a_mailbox()

    def before(operation: str, _key: str) -> None:
        if operation == "UpdateItem":
            position = f"!d{len(world.positions())}"
            made: Item = {"user_id": {"S": "bob"}, "position": {"S": position}}
            world.table.items["bob", position] = made

    world.table.before = before
    with pytest.raises(OperatorError, match="added all the time"):
        await world.purge()


@pytest.mark.parametrize("partitions", [1, LOGS_PER_UPDATE + 1])
async def test_a_purge_that_is_killed_anywhere_is_finished_by_the_next(partitions: int) -> None:
    """Before each of its calls, also between two updates of one cursor. A cursor with an expiry
    hides everything, and nothing is left below it (G4)."""
    ends = LogEnds({LogId(2, 3 + n): 99 for n in range(partitions)}, {})
    last = f"0002.{2 + partitions:05}"
    calls = await _calls(ends)
    for at in range(calls):
        world = await a_mailbox()
        world.table.before = _killing(at)
        with pytest.raises(Killed):
            await world.purge(ends=ends)
        world.table.before = lambda _operation, _key: None
        if len(world.positions()) < 6:  # nothing is deleted that no cursor hides
            for position in ("!", "!pad", "!phone"):
                assert world.cursor(position)["0002.00003"] == {"N": "99"}
                assert world.cursor(position)[last] == {"N": "99"}
        if "expires_at" in world.cursor():
            assert world.positions() == ["!", "!pad", "!phone"]
        await world.purge(ends=ends, at=NOW_MS + 1)
        assert world.positions() == ["!", "!pad", "!phone"]
        for device in (None, "phone", "pad"):
            position = "!" if device is None else f"!{device}"
            assert "expires_at" in world.cursor(position)
    assert calls > 8


def _killing(at: int) -> Callable[[str, str], None]:
    left = [at]

    def before(_operation: str, _key: str) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1

    return before


async def _calls(ends: LogEnds) -> int:
    world, made = await a_mailbox(), [0]

    def before(_operation: str, _key: str) -> None:
        made[0] += 1

    world.table.before = before
    await world.purge(ends=ends)
    return made[0]


async def test_two_purges_at_a_time_end_as_one() -> None:
    """The later mark counts; nothing is left (G4)."""
    world = await a_mailbox()
    await asyncio.gather(world.purge(), world.purge(at=NOW_MS + 1))
    await world.purge(at=NOW_MS + 2)

    assert world.positions() == ["!", "!pad", "!phone"]
    assert "expires_at" in world.cursor()


async def test_more_partitions_than_one_update_names_are_raised() -> None:
    """One that is further already stays there, and holds up no other (G4)."""
    world = World()
    logs = {LogId(2, partition): partition for partition in range(120)}
    world.table.items["bob", "!"] = {
        "user_id": {"S": "bob"}, "position": {"S": "!"}, "0002.00007": {"N": "1000"},
    }  # fmt: skip
    purged = await world.purge(ends=LogEnds(logs, {}))

    assert purged.partitions == 120
    cursor = world.cursor()
    assert [int(cursor[log.encode()]["N"]) for log in logs] == [
        1000 if partition == 7 else partition for partition in range(120)
    ]


async def test_deletes_that_are_left_over_are_repeated_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is left is hidden (G4, G8)."""
    world = await a_mailbox()
    make = world.table.batch_write_item
    refused = [2]

    async def batch_write_item(*, RequestItems: Any, **more: Any) -> Any:  # noqa: N803 - AWS's
        if refused[0]:
            refused[0] -= 1
            return {"UnprocessedItems": RequestItems}
        return await make(RequestItems=RequestItems, **more)

    monkeypatch.setattr(world.table, "batch_write_item", batch_write_item)
    monkeypatch.setattr(purging, "DELETE_ATTEMPTS_MAX", 3)
    assert (await world.purge()).bundles == 3
    world.put(5, 9)
    refused[0] = 3
    with pytest.raises(OperatorError, match="What is left is hidden"):
        await world.purge(at=NOW_MS + 1)
    assert await world.shown() == []


@pytest.mark.parametrize(
    ("config", "unread", "topic", "why"),
    [
        ({"retention.ms": "86400000", "segment.ms": "3600000"}, "", 90_000_000, ""),
        ({"retention.ms": "86400000"}, "", 8 * DAY_MS, ""),
        ({"retention.ms": "-1", "segment.ms": "1"}, "", None, "the topic keeps its records"),
        ({}, "TopicAuthorizationFailedError", None, "cannot be read"),
    ],
)
def test_the_topics_retention_is_read_with_its_segments(
    config: dict[str, str], unread: str, topic: int | None, why: str
) -> None:
    """A record stays until its whole segment is old enough (G4)."""
    found = Retention.of(config, unread, 30.0)

    assert (found.topic, found.table) == (topic, 30 * DAY_MS)
    assert why in found.why


def test_the_ends_are_the_logs_own_or_progress_where_that_is_further() -> None:
    """What a transaction holds back is below the end; an empty partition has none; the lag is said
    (G4)."""
    progress = Progress(table_id="t1", epoch=2, next=7, origin=0, written_at_ms=0)
    found = LogEnds.of(
        2,
        [
            PartitionStatus(0, stable_log(0, 10), progress, None),
            PartitionStatus(1, stable_log(0, 5), progress, None),  # it was re-created
            PartitionStatus(2, stable_log(0, 0), None, None),
        ],
    )

    assert found.offsets == {LogId(2, 0): 9, LogId(2, 1): 6}
    assert found.behind == {0: 3}


@pytest.mark.parametrize("yes", [True, False])
def test_purge_json_is_what_was_promised(*, yes: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """For a program and a person, whatever there is to say."""
    plain = PurgeResult(2, cursors=1, expires_at_ms=NOW_MS)
    full = PurgeResult(2, 1, 5, 2, 1, None, "for ever", {3: 7})
    for each in (plain, full):
        jsonschema.validate(audit_rendering.purge_object("bob", each, yes=yes), schema("purge"))
        audit_rendering.print_purge("b\x1bob", each, yes=yes)
    said = capsys.readouterr().out

    assert "\x1b" not in said
    assert "expire at 2026-01-01T00:00:00.000Z" in said
    assert "partitions 3 (7 offsets)" in said
    assert ("add --yes" in said) is not yes


async def test_a_purge_makes_the_calls_that_its_permissions_allow() -> None:
    """And a dry run those that read (an operator can grant them)."""
    (row,) = [r for r in table(page("dynamodb"), "program", "actions") if "`poste purge`" in r[0]]
    said = re.findall(r"dynamodb:(\w+)", row[1])
    reads = ["GetItem", "Query"]  # the first of the table record, by the command
    for work, expected in ((MailboxPurge.preview, reads), (MailboxPurge.purge, said)):
        world, made = await a_mailbox(), {"GetItem"}

        def before(operation: str, _key: str, made: set[str] = made) -> None:
            made.add(operation)

        world.table.before = before
        await work(world.purge_())
        assert sorted(made) == sorted(expected)
