"""Bundles into mailboxes, through BatchWriteItem.

One call takes at most 25 items, and DynamoDB may leave some of them over. The writer sends only
those again. A call with an unknown outcome is sent again whole: a key holds the same content
whichever worker writes it, and however often.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Sequence

from poste_restante.item import write_units
from worker.bundles import Bundle
from worker.dynamodb.budget import WriteBudget
from worker.dynamodb.puts import EncodedPut, Key, PutResult, encode_put, fits_one_call
from worker.dynamodb.retrying_store import RetryingStore, Waiting
from worker.errors import ItemRefused
from worker.flush_waits import current_flush
from worker.mailbox_writer import Rejected


class DynamoDBWriter:
    """The MailboxWriter of a table.

    store: its calls wait for a DynamoDB that is away. budget: limits the write units; None: only
    the number of calls is limited.
    """

    def __init__(self, store: RetryingStore, table: str, budget: WriteBudget | None = None) -> None:
        self._store = store
        self._table = table
        self._budget = budget

    async def write(self, bundles: Sequence[Bundle]) -> list[Rejected]:
        rejected: list[Rejected] = []
        puts: list[EncodedPut] = []
        for bundle in bundles:
            try:
                puts.append(encode_put(bundle))
            except Exception as error:  # noqa: BLE001 - our own fault, on one record of many
                rejected.append(Rejected(bundle, f"not encoded: {type(error).__name__}: {error}"))
        for found in await _together(self._write(call) for call in calls(puts)):
            rejected += found
        return rejected

    async def _write(self, puts: list[EncodedPut]) -> list[Rejected]:
        """Write the puts of one call. A refused item refuses its call: halve until it is alone."""
        left = {put.key: put for put in puts}
        try:
            await self._put_all(left)
        except ItemRefused as refused:
            remaining = list(left.values())
            if len(remaining) == 1:
                return [Rejected(remaining[0].bundle, str(refused))]
            middle = len(remaining) // 2
            return [
                *await self._write(remaining[:middle]),
                *await self._write(remaining[middle:]),
            ]
        return []

    async def _put_all(self, left: dict[Key, EncodedPut]) -> None:
        """Put what is in `left` until nothing is left, and remove what is durable."""
        with self._store.waiting("batch_write_item") as waiting:
            await self._put_until_stored(left, waiting)

    async def _put_until_stored(self, left: dict[Key, EncodedPut], waiting: Waiting) -> None:
        """Send what is in `left`, and again what DynamoDB left over of it, until all is stored."""
        while left:
            result = await self._put(list(left.values()))
            stored = left.keys() - result.left_over
            for key in stored:
                del left[key]
            if stored:
                current_flush().note_durable()
            if left:
                await waiting.wait("throttled (unprocessed items)")

    async def _put(self, puts: Sequence[EncodedPut]) -> PutResult:
        """Make one call, within the budget.

        The budget counts a call once, however many attempts it takes: attempts that DynamoDB
        refuses, or that do not arrive, cost nothing.
        """
        if self._budget is None:
            return await self._store.put(self._table, puts)
        reserved = sum(write_units(put.bundle.bytes_max) for put in puts)
        await self._budget.reserve(reserved)
        try:
            result = await self._store.put(self._table, puts, count_units=True)
        except ItemRefused:
            self._budget.settle(reserved, 0)
            raise
        consumed = result.write_units
        self._budget.settle(reserved, reserved if consumed is None else consumed)
        return result


def calls(puts: Iterable[EncodedPut]) -> Iterator[list[EncodedPut]]:
    """Divide puts into calls, each within the limits of one call."""
    call: list[EncodedPut] = []
    size = 0
    for put in puts:
        size += put.bundle.bytes_max
        if call and not fits_one_call(len(call) + 1, size):
            yield call
            call, size = [], put.bundle.bytes_max
        call.append(put)
    if call:
        yield call


async def _together(jobs: Iterable[Awaitable[list[Rejected]]]) -> list[list[Rejected]]:
    """Return all results, in order. The first failure cancels the others and is raised as it is.

    The store limits the calls in flight, the batch their number.
    """
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # no call outlives its flush
