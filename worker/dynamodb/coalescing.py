"""Small writes of several partitions, sent as one call.

Where messages trickle in, a flush writes an item or two, and the call costs more than they do. The
writes of several partitions within `COALESCE_S` go into one BatchWriteItem. Each caller learns the
result of its own items, as if it had been alone. Callers share one attempt and never its
repetition: a throttled caller waits alone, a cancelled one leaves alone.

What coalescing saves stands in benchmarks/README.md: a quarter of the processor time of a message
under live load, and most calls.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from botocore.exceptions import ClientError

from poste_restante.retryable_errors import code_of
from worker.dynamodb.puts import EncodedPut, PutResult, PutsItems, fits_one_call, size_of

#: Seconds that a small write waits for others: short beside the milliseconds that a write takes.
COALESCE_S = 0.002


@dataclass(slots=True, eq=False)
class PendingWrite:
    """One caller's part of a call. size: bytes of its items. done: this caller's own result."""

    table: str
    puts: Sequence[EncodedPut]
    size: int
    done: asyncio.Future[PutResult]


class CoalescingPuts:
    """Merges small puts into the puts of a client. coalesce_s: seconds that a small one waits.

    A call that counts its write units goes alone, since an answer states only their sum.
    """

    def __init__(self, client: PutsItems, *, coalesce_s: float = COALESCE_S) -> None:
        self._client = client
        self._coalesce_s = coalesce_s
        self._waiting: list[PendingWrite] = []
        #: Calls that are under way. asyncio itself does not keep a task alive.
        self.calls: set[asyncio.Task[None]] = set()

    async def put(
        self, table: str, puts: Sequence[EncodedPut], *, count_units: bool = False
    ) -> PutResult:
        """Put these items through the client. Raises what the client raises."""
        size = size_of(puts)
        if count_units or _leaves_little_room(puts, size):
            return await self._client.put(table, puts, count_units=count_units)
        loop = asyncio.get_running_loop()
        write = PendingWrite(table, puts, size, loop.create_future())
        if not self._waiting:
            loop.call_later(self._coalesce_s, self._send)
        self._waiting.append(write)
        return await write.done

    def _send(self) -> None:
        """Send all waiting writes in as few calls as the limits allow."""
        waiting = [write for write in self._waiting if not write.done.done()]
        self._waiting = []
        for writes in _calls(waiting):
            task = asyncio.create_task(self._call(writes))
            self.calls.add(task)
            task.add_done_callback(self.calls.discard)
            for write in writes:
                write.done.add_done_callback(partial(_cancel_unwanted, task, writes))

    async def _call(self, writes: Sequence[PendingWrite]) -> None:
        try:
            if len(writes) == 1:
                await self._call_alone(writes[0])
            else:
                await self._call_together(writes)
        finally:
            for write in writes:
                write.done.cancel()  # only where this task was cancelled: no caller waits for ever

    async def _call_together(self, writes: Sequence[PendingWrite]) -> None:
        puts = [put for write in writes for put in write.puts]
        try:
            result = await self._client.put(writes[0].table, puts)
        except ClientError as error:
            if code_of(error) == "ValidationException":  # one item refuses the call for all
                await asyncio.gather(*map(self._call_alone, writes))
                return
            _fail(writes, error)
        except Exception as error:  # noqa: BLE001 - each caller judges it
            _fail(writes, error)
        else:
            for write in writes:
                if not write.done.done():
                    own = {put.key for put in write.puts} if result.left_over else ()
                    write.done.set_result(PutResult(result.left_over.intersection(own)))

    async def _call_alone(self, write: PendingWrite) -> None:
        try:
            result = await self._client.put(write.table, write.puts)
        except Exception as error:  # noqa: BLE001 - the caller judges it
            _fail([write], error)
        else:
            if not write.done.done():
                write.done.set_result(result)


def _leaves_little_room(puts: Sequence[EncodedPut], size: int) -> bool:
    """Whether a call has no room for another item, or its items take more than half the bytes."""
    return not fits_one_call(len(puts) + 1, 2 * size)


def _calls(waiting: Sequence[PendingWrite]) -> Iterator[list[PendingWrite]]:
    """Group writes into calls. A call has one table."""
    call: list[PendingWrite] = []
    items = size = 0
    for write in waiting:
        items, size = items + len(write.puts), size + write.size
        if call and (not fits_one_call(items, size) or write.table != call[0].table):
            yield call
            call, items, size = [], len(write.puts), write.size
        call.append(write)
    if call:
        yield call


def _fail(writes: Sequence[PendingWrite], error: Exception) -> None:
    for write in writes:
        if not write.done.done():
            write.done.set_exception(error)


def _cancel_unwanted(call: asyncio.Task[None], writes: Sequence[PendingWrite], _: object) -> None:
    """Cancel a call that no caller waits for any more."""
    if all(write.done.done() for write in writes):
        call.cancel()
