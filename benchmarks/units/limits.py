"""A bundle's limits, each on the same loads: what is written, read back, and held in memory.

A skewed backlog and one hot user, flushed in full batches by the worker's Flusher, then every
user calls for all that waits in pages, and acknowledges each. Counted, never timed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.units.day import Office
from benchmarks.units.table import Counted
from benchmarks.workloads import Batch
from poste_restante.item import READ_UNIT_BYTES
from worker.bundles import Bundle, BundleLimits
from worker.writer import MailboxWriter, Rejected


class Watched:
    """A MailboxWriter that remembers the largest wave: as a whole it is encoded at once."""

    def __init__(self, writer: MailboxWriter) -> None:
        self._writer = writer
        self.bytes_max = 0

    async def write(self, bundles: Sequence[Bundle]) -> list[Rejected]:
        self.bytes_max = max(self.bytes_max, sum(bundle.bytes_max for bundle in bundles))
        return await self._writer.write(bundles)


@dataclass(frozen=True, slots=True)
class Drained:
    """A load that was written, and called for in pages of `limit` messages.

    counted: in all. first: of the first page of the user who has most. wave_bytes: the largest.
    """

    messages: int
    counted: Counted
    first: Counted
    wave_bytes: int

    def figures(self) -> dict[str, float]:
        """Per 1,000 messages, and of one page."""
        per = 1000 / self.messages
        return {
            "bundles": self.counted.bundles * per,
            "bundle_units": self.counted.bundle_units * per,
            "ack_units": self.counted.ack_units * per,
            "delete_units": self.counted.delete_units * per,
            "progress_units": self.counted.progress_units * per,
            "write_units": self.counted.write_units * per,
            "read_units": self.counted.read_units * per,
            "queries": self.counted.queries * per,
            "first_page_bytes": self.first.read_units * READ_UNIT_BYTES,
            "wave_bytes": self.wave_bytes,
        }


async def drained(
    batches: Sequence[Batch], limits: BundleLimits, page: int, *, apart: bool = False
) -> Drained:
    """page: messages. apart: each page is fetched by another gateway, which has read nothing
    ahead, so that a bundle that was acknowledged in part is read again. Progress is in it once for
    each partition: a backlog of a few batches is written within one commit interval."""
    office = Office(limits)
    await office.open()
    one_progress = await office.progress_units()
    office.table.counted = Counted()
    watched = Watched(office.flusher.mailboxes)
    office.flusher.mailboxes = watched
    messages: dict[str, int] = {}
    for batch in batches:
        await office.flush(batch)
        for record in batch:
            user = record.key.decode()
            messages[user] = messages.get(user, 0) + 1
    office.table.now_s = batches[-1][-1].timestamp / 1000
    users = sorted(messages, key=lambda user: -messages[user])
    before = replace(office.table.counted)
    first: Counted | None = None
    for user in users:
        more = True
        while more:
            if apart:
                office.mailboxes = office.gateway()
            found = await office.mailboxes.fetch(user, limit=page)
            first = first or office.table.counted.since(before)
            await office.mailboxes.ack(user, found.receipt)
            more = found.more
    assert first is not None
    partitions = {batch[0].partition for batch in batches}
    office.table.counted.progress_units = one_progress * len(partitions)
    return Drained(sum(messages.values()), office.table.counted, first, watched.bytes_max)


def with_bodies(batches: Sequence[Batch], body_bytes: int) -> list[Batch]:
    """The same records, with bodies of another size."""
    return [[_with_body(record, body_bytes) for record in batch] for batch in batches]


def _with_body(record: Any, body_bytes: int) -> Any:
    return replace(record, value=record.value[:1] * body_bytes)
