"""A backlog, flushed in full batches by the worker's Flusher, and called for in pages."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.units.day import Office
from benchmarks.units.table import Counted, CountedTable
from benchmarks.workloads import Batch


@dataclass(slots=True)
class Drained:
    """All is written, fetched and acknowledged. last: the last record. counted: with progress once
    for each partition, whose few batches are written within one commit interval."""

    office: Office
    last: Any
    counted: Counted

    async def one_more(self) -> dict[str, float]:
        """What the next return reads, of the user who has a message more."""
        self.last = replace(self.last, offset=self.last.offset + 1)
        await self.office.flush([self.last])
        before = replace(self.office.table.counted)
        await self.office.call_for(self.last.key.decode())
        found = self.office.table.counted.since(before)
        return {"queries": found.queries, "read_units": found.read_units,
                "again_bytes": found.again_bytes}  # fmt: skip


async def drained(batches: Sequence[Batch], page: int) -> Drained:
    """page: messages. Users who have most come first."""
    office = Office(CountedTable())
    await office.open()
    one_progress = await office.progress_units()
    office.table.counted = Counted()
    messages: dict[str, int] = {}
    for batch in batches:
        await office.flush(batch)
        for record in batch:
            user = record.key.decode()
            messages[user] = messages.get(user, 0) + 1
    office.table.now_s = batches[-1][-1].timestamp / 1000
    for user in sorted(messages, key=lambda user: -messages[user]):
        await office.call_for(user, limit=page)
    counted = replace(office.table.counted)
    counted.progress_units = one_progress * len({batch[0].partition for batch in batches})
    return Drained(office, batches[-1][-1], counted)


def with_bodies(batches: Sequence[Batch], body_bytes: int) -> list[Batch]:
    """The same records, with bodies of another size."""
    return [[_with_body(record, body_bytes) for record in batch] for batch in batches]


def _with_body(record: Any, body_bytes: int) -> Any:
    return replace(record, value=record.value[:1] * body_bytes)
