"""Small calls of several partitions, sent as one.

Where messages trickle in, a flush writes an item or two, and the call costs more than they do. What
partitions write within `GATHER_S` goes into one BatchWriteItem; each learns what became of its own
items, as if it had been alone. One attempt is shared, never its repetition: who is throttled or
cancelled waits or goes alone, and nobody waits with him.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from poste_restante.item import Item
from poste_restante.retryable_errors import code_of
from worker.dynamodb.encoding import PreparedWrite

#: Seconds that a small call waits for others: short beside the milliseconds that a write takes.
COALESCE_S = 0.002
#: Items of one call (API reference, BatchWriteItem).
CALL_ITEMS_MAX = 25
#: Bytes of items in one call, as `item_bytes_max` counts them. As sent, bodies are in base64: this
#: is about 1 MiB, above which aiohttp warns of a body that holds up the event loop. The API's
#: limit is 16 MB, and no item is sent as more than 10 times its bound (the worst, headers that are
#: empty, as 9 times; a control character in JSON is 6).
CALL_BYTES_MAX = 768 * 1024

Key = tuple[str, str]


@dataclass(slots=True, eq=False)
class PendingWrite:
    """One caller's part of a call. done: the answer to him alone."""

    write: PreparedWrite
    done: asyncio.Future[Any]


class CoalescingClient:
    """A client whose small BatchWriteItem calls are gathered; every other call as before.

    client: its `batch_write_item` takes a PreparedWrite. A call that asks for what it consumed goes
    alone: an answer tells only the sum.
    """

    def __init__(self, client: Any, *, coalesce_s: float = COALESCE_S) -> None:
        self._client = client
        self._coalesce_s = coalesce_s
        self._waiting: list[PendingWrite] = []
        self._calls: set[asyncio.Task[None]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def batch_write_item(
        self,
        *,
        RequestItems: Mapping[str, Any],  # noqa: N803
        **consumed: str,
    ) -> Any:
        """As the client's, for these items alone. Raises what the client raises."""
        write = RequestItems
        if consumed or not isinstance(write, PreparedWrite) or _is_full(write):
            return await self._client.batch_write_item(RequestItems=write, **consumed)
        loop = asyncio.get_running_loop()
        share = PendingWrite(write, loop.create_future())
        if not self._waiting:
            loop.call_later(self._coalesce_s, self._send)
        self._waiting.append(share)
        return await share.done

    def _send(self) -> None:
        """All that wait, in as few calls as the limits allow."""
        waiting = [share for share in self._waiting if not share.done.done()]
        self._waiting = []
        for shares in _calls(waiting):
            task = asyncio.create_task(self._call(shares))
            self._calls.add(task)  # a task is kept alive by who knows it
            task.add_done_callback(self._calls.discard)
            for share in shares:
                share.done.add_done_callback(partial(_leave, task, shares))

    async def _call(self, shares: Sequence[PendingWrite]) -> None:
        try:
            if len(shares) == 1:
                await self._call_alone(shares[0])
            else:
                await self._call_together(shares)
        finally:
            for share in shares:
                share.done.cancel()  # only where this call was: nobody waits for ever

    async def _call_together(self, shares: Sequence[PendingWrite]) -> None:
        puts = [put for share in shares for put in share.write.puts]
        together = PreparedWrite(shares[0].write.table, puts)
        try:
            answer = await self._client.batch_write_item(RequestItems=together)
        except ClientError as error:
            if code_of(error) == "ValidationException":  # one item refuses the call for all
                await asyncio.gather(*map(self._call_alone, shares))
                return
            _fail(shares, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is each caller's to judge
            _fail(shares, error)
        else:
            for share, its in zip(shares, _split(answer, shares), strict=True):
                if not share.done.done():
                    share.done.set_result(its)

    async def _call_alone(self, share: PendingWrite) -> None:
        try:
            answer = await self._client.batch_write_item(RequestItems=share.write)
        except Exception as error:  # noqa: BLE001 - as above
            _fail([share], error)
        else:
            if not share.done.done():
                share.done.set_result(answer)


def _is_full(write: PreparedWrite) -> bool:
    """Whether a call leaves little room for another's items."""
    return len(write.puts) == CALL_ITEMS_MAX or 2 * write.bytes_max > CALL_BYTES_MAX


def _calls(waiting: Sequence[PendingWrite]) -> Iterator[list[PendingWrite]]:
    """Cuts into calls, each of one table."""
    call: list[PendingWrite] = []
    items = size = 0
    for share in waiting:
        more, bytes_max = len(share.write.puts), share.write.bytes_max
        if call and (
            items + more > CALL_ITEMS_MAX
            or size + bytes_max > CALL_BYTES_MAX
            or share.write.table != call[0].write.table
        ):
            yield call
            call, items, size = [], 0, 0
        call.append(share)
        items, size = items + more, size + bytes_max
    if call:
        yield call


def _split(answer: Any, shares: Sequence[PendingWrite]) -> list[Any]:
    """The answer to each: of the items that were not taken, his. One that is none, or names
    another's items, is told to all as it is: each judges it."""
    table = shares[0].write.table
    owners = {put.key: n for n, share in enumerate(shares) for put in share.write.puts}
    left: list[list[Any]] = [[] for _ in shares]
    try:
        tables = answer["UnprocessedItems"]
        if not tables.keys() <= {table}:
            return [answer] * len(shares)
        for request in tables.get(table, ()):
            left[owners[item_key(request["PutRequest"]["Item"])]].append(request)
    except (AttributeError, KeyError, TypeError):
        return [answer] * len(shares)
    return [{"UnprocessedItems": {table: requests} if requests else {}} for requests in left]


def item_key(item: Item) -> Key:
    """The key of an item in its table."""
    return item["user_id"]["S"], item["position"]["S"]


def _fail(shares: Sequence[PendingWrite], error: Exception) -> None:
    for share in shares:
        if not share.done.done():
            share.done.set_exception(error)


def _leave(call: asyncio.Task[None], shares: Sequence[PendingWrite], _: object) -> None:
    """Nobody waits for a call any more: it ends with its flushes."""
    if all(share.done.done() for share in shares):
        call.cancel()
