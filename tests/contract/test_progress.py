"""The contract of ProgressStore, on the fake table and on DynamoDB Local."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from poste_restante.table import TableRecord
from tests.faults import (
    Fault,
    FaultyClient,
    answer_broken_off,
    answer_lost,
    answer_misshapen,
    not_reached,
    refuses,
)
from tests.store_client import store_on
from tests.tables import KINDS, open_table
from worker.dynamodb.progress_store import DynamoDBProgress
from worker.errors import OperatorError, ProgressMovedBack, TableReplaced
from worker.progress import Progress
from worker.record import Fingerprint

TOPIC = "chat"
TABLE = TableRecord(table_id="t1", topic=TOPIC, partitions=4, epoch=1)
FIRST = Progress(table_id="t1", epoch=1, next=100, origin=100, written_at_ms=1)
NEXT = replace(
    FIRST, next=250, last=Fingerprint(5, 6), group=100, consecutive_dead_letters=2, written_at_ms=2,
    caught_up_at_ms=2,
)  # fmt: skip
LATER = replace(NEXT, next=400, last=Fingerprint(None, 7), group=250, written_at_ms=3)

AWAY = [refuses("ThrottlingException"), not_reached, answer_lost, answer_broken_off,
        answer_misshapen]  # fmt: skip


class Stored:
    """A table, a client of it that can be made to fail, and a store that does not really wait."""

    def __init__(self, client: Any, table: str) -> None:
        self.client = FaultyClient(client)
        self.table = table
        self.progress = DynamoDBProgress(store_on(self.client, sleep=self._sleep), table, TOPIC)

    async def _sleep(self, delay_s: float) -> None:
        await asyncio.sleep(0)

    async def put(self, item: dict[str, Any]) -> None:
        await self.client.client.put_item(TableName=self.table, Item=item)

    async def set(self, progress: Progress, partition: int = 3) -> None:
        """What somebody else did."""
        await self.put(progress.encode(TOPIC, partition))

    def somebody_moves_it(self, to: Progress) -> Fault:
        """Another writer comes first: the next call is made after it."""

        async def fault(make: Any, arguments: dict[str, Any]) -> dict[str, Any]:
            await self.set(to)
            answer: dict[str, Any] = await make(**arguments)
            return answer

        return fault


@pytest.fixture(params=KINDS)
async def stored(request: pytest.FixtureRequest, table_name: str) -> AsyncIterator[Stored]:
    async with open_table(request, table_name) as client:
        yield Stored(client, table_name)


async def test_the_table_record_is_read(stored: Stored) -> None:
    """What the table is for (G1)."""
    await stored.put(TABLE.encode())
    assert await stored.progress.table() == TABLE


@pytest.mark.parametrize(
    ("item", "word"),
    [
        (None, "poste init"),
        (replace(TABLE, topic="other").encode(), "'other'"),
        (TABLE.encode() | {"v": {"N": "2"}}, "format version 2"),
        (TABLE.encode() | {"window_size": {"N": "9"}}, "windows of 9"),
    ],
)
async def test_a_table_that_is_not_for_us_is_refused(
    stored: Stored, item: dict[str, Any] | None, word: str
) -> None:
    """In one line that says what to do (G1)."""
    if item is not None:
        await stored.put(item)
    with pytest.raises(OperatorError, match=word) as caught:
        await stored.progress.table()
    assert stored.table in str(caught.value)


async def test_a_partition_without_progress_has_none(stored: Stored) -> None:
    """Which is not the same as offset 0 (G1)."""
    assert await stored.progress.read(3) is None


async def test_an_item_that_cannot_be_read_is_not_taken_for_none(stored: Stored) -> None:
    """A newer version's progress is not written over by a first start (G1)."""
    await stored.put(FIRST.encode(TOPIC, 3) | {"v": {"N": "2"}})
    with pytest.raises(OperatorError, match="format version 2"):
        await stored.progress.read(3)


async def test_create_stores_where_there_is_none(stored: Stored) -> None:
    """Each partition its own item (G1)."""
    assert await stored.progress.create(3, FIRST) == FIRST
    assert await stored.progress.read(3) == FIRST
    assert await stored.progress.read(4) is None


async def test_create_leaves_what_is_there(stored: Stored) -> None:
    """Two workers that begin a partition begin at the same offset (G2)."""
    await stored.set(NEXT)
    assert await stored.progress.create(3, FIRST) == NEXT
    assert await stored.progress.read(3) == NEXT


async def test_create_finds_another_tables_progress(stored: Stored) -> None:
    """The table was replaced under us (G1)."""
    await stored.set(replace(FIRST, table_id="t2"))
    with pytest.raises(TableReplaced):
        await stored.progress.create(3, FIRST)


@pytest.mark.parametrize("fault", AWAY)
async def test_everything_copes_with_a_store_that_is_away(stored: Stored, fault: Fault) -> None:
    """And with an attempt that landed although its answer was lost (G1)."""

    def away() -> None:
        stored.client.faults = [fault, fault]

    away()
    assert await stored.progress.create(3, FIRST) == FIRST
    away()
    assert await stored.progress.advance(3, FIRST, NEXT) == NEXT
    away()
    assert await stored.progress.read(3) == NEXT
    away()
    await stored.progress.move(3, NEXT, replace(NEXT, next=200, last=None))
    assert await stored.progress.read(3) == replace(NEXT, next=200, last=None)


async def test_advance_raises_progress(stored: Stored) -> None:
    """From what was last seen to what is durable; what is absent now is removed (G1)."""
    await stored.set(FIRST)
    assert await stored.progress.advance(3, FIRST, NEXT) == NEXT
    assert await stored.progress.read(3) == NEXT

    bare = replace(LATER, last=None, group=None, caught_up_at_ms=None)
    await stored.progress.advance(3, NEXT, bare)
    assert await stored.progress.read(3) == bare


async def test_advance_passes_what_another_writer_stored_below(stored: Stored) -> None:
    """What this worker made durable counts, whoever wrote last (G1)."""
    await stored.set(NEXT)
    assert await stored.progress.advance(3, FIRST, LATER) == LATER
    assert await stored.progress.read(3) == LATER


@pytest.mark.parametrize("other", [LATER, replace(NEXT, group=7, last=None, written_at_ms=9)])
async def test_already_as_far_or_further_is_success(stored: Stored, other: Progress) -> None:
    """And is not altered: a zombie takes nothing back, nor sets the group's offset (G1)."""
    await stored.set(other)
    assert await stored.progress.advance(3, FIRST, NEXT) == other
    assert await stored.progress.read(3) == other


@pytest.mark.parametrize("below", [FIRST, replace(FIRST, next=50)])
async def test_a_replay_alters_nothing(stored: Stored, below: Progress) -> None:
    """What it makes durable lies below progress; its commits are not "last confirmed" (G1)."""
    seen = replace(NEXT, group=None)
    await stored.set(seen)
    assert await stored.progress.advance(3, seen, replace(below, group=40)) == seen
    assert await stored.progress.advance(3, seen, replace(seen, group=40)) == seen
    assert await stored.progress.read(3) == seen


async def test_advance_never_moves_the_origin(stored: Stored) -> None:
    """A zombie from before a gap does not claim what was never read (G2)."""
    await stored.set(replace(NEXT, origin=250))
    await stored.progress.advance(3, FIRST, LATER)

    found = await stored.progress.read(3)
    assert found == replace(LATER, origin=250)


@pytest.mark.parametrize(
    ("seen", "new"), [(FIRST, NEXT), (NEXT, replace(NEXT, next=120)), (NEXT, NEXT)]
)
@pytest.mark.parametrize(
    "other", [None, replace(FIRST, table_id="t2"), replace(FIRST, epoch=2), LATER]
)
async def test_another_table_or_epoch_ends_the_process(
    stored: Stored, seen: Progress, new: Progress, other: Progress | None
) -> None:
    """Replaced, restored, or renewed under a worker: it must not go on, replaying or not (G1)."""
    if other is LATER:
        other = replace(LATER, table_id="t2")
    if other is not None:
        await stored.set(other)
    with pytest.raises(TableReplaced, match=f"{TOPIC}-3"):
        await stored.progress.advance(3, seen, new)
    assert await stored.progress.read(3) == other


@pytest.mark.parametrize("new", [LATER, replace(NEXT, next=220)])
async def test_progress_that_moved_back_ends_the_process(stored: Stored, new: Progress) -> None:
    """A restore or a rewind under a worker is not written over (G1)."""
    await stored.set(FIRST)
    with pytest.raises(ProgressMovedBack, match="100 is below 250"):
        await stored.progress.advance(3, NEXT, new)
    assert await stored.progress.read(3) == FIRST


async def test_advance_tries_again_where_a_zombie_came_between(stored: Stored) -> None:
    """Refused, then found below: the update is made again (G1)."""
    await stored.set(replace(FIRST, next=50))  # refuses the update
    stored.client.faults = [_unchanged, stored.somebody_moves_it(NEXT)]
    assert await stored.progress.advance(3, FIRST, LATER) == LATER
    assert await stored.progress.read(3) == LATER


async def _unchanged(make: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = await make(**arguments)
    return answer


@pytest.mark.parametrize(
    "new",
    [
        replace(NEXT, next=100, last=None, group=None),
        replace(NEXT, next=900, origin=900, last=None),
        replace(NEXT, group=None),
        replace(NEXT, epoch=2, next=0, origin=0, last=None, group=None),
        NEXT,
    ],
)
async def test_a_move_goes_anywhere(stored: Stored, new: Progress) -> None:
    """Gap, skip, rewind, epoch, forgetting the group's offset (G1)."""
    await stored.set(NEXT)
    await stored.progress.move(3, NEXT, new)
    assert await stored.progress.read(3) == new


@pytest.mark.parametrize(
    "meanwhile", [None, LATER, replace(NEXT, table_id="t2"), replace(NEXT, epoch=2)]
)
async def test_a_move_from_what_is_not_there_any_more_is_refused(
    stored: Stored, meanwhile: Progress | None
) -> None:
    """Somebody is at work: nothing is written over (G1)."""
    if meanwhile is not None:
        await stored.set(meanwhile)
    with pytest.raises(OperatorError, match="changed meanwhile"):
        await stored.progress.move(3, NEXT, FIRST)
    assert await stored.progress.read(3) == meanwhile


async def test_a_table_that_is_missing_is_the_operators(stored: Stored) -> None:
    """As the store itself words it (G9)."""
    elsewhere = DynamoDBProgress(store_on(stored.client), "no-such-table", TOPIC)
    with pytest.raises(OperatorError, match="poste init"):
        await elsewhere.table()
    with pytest.raises(OperatorError, match="poste init"):
        await elsewhere.advance(3, FIRST, NEXT)


@pytest.mark.parametrize("fault", AWAY)
async def test_an_epoch_is_opened_once(stored: Stored, fault: Fault) -> None:
    """However often its last write is sent, and whatever became of the answer (G4)."""
    await stored.put(TABLE.encode())
    stored.client.faults = [fault, fault]
    await stored.progress.open_epoch(TABLE, partitions=6)

    renewed = replace(TABLE, epoch=2, partitions=6)
    assert await stored.progress.table() == renewed
    await stored.progress.open_epoch(TABLE, partitions=6)
    assert await stored.progress.table() == renewed


async def test_an_epoch_is_not_opened_over_another(stored: Stored) -> None:
    """Somebody else opened one meanwhile (G4)."""
    await stored.put(replace(TABLE, epoch=3).encode())
    with pytest.raises(OperatorError, match="changed meanwhile"):
        await stored.progress.open_epoch(TABLE, partitions=4)
