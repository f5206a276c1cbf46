"""Fetches of mailboxes of several sizes, while the table around them grows.

Each is done twice: timed by the gateway's client alone, and then counted, by one that adds up what
calls consume and how large items are.
"""

import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.reading.mail import (
    Metered,
    bundles,
    create,
    gateway_client,
    messages,
    others,
    percentile,
    write,
)
from poste_restante import Mailboxes, Page

TABLE = "fetched"
#: Messages of a page of the deep mailbox.
PAGE_MESSAGES = 1_000
#: Offsets between two mailboxes that are read.
_APART = 1_000_000
#: The deep mailboxes have a partition each, and so the same offsets, whose digits are billed.
_DEEP_PARTITIONS = 2


async def measure(sizes: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each mailbox in each table. table: messages of others in it."""
    rows, written = [], 0
    await create(TABLE)
    for n, size in enumerate(sizes["mailboxes"]):
        await write(TABLE, bundles(messages(f"of-{size}", n * _APART, size)))
    async with gateway_client() as client:
        for n, size in enumerate(sizes["tables"]):
            print(f"  {size} messages in the table", file=sys.stderr, flush=True)
            await write(TABLE, others(written, size))
            written = size
            if n == 0:  # else the first table would have the store's own warming up
                for mailbox in sizes["mailboxes"]:
                    await _fetches(client, mailbox, sizes["fetches"])
            rows += [
                {"table": size, "mailbox": mailbox,
                 **await _fetches(client, mailbox, sizes["fetches"])}
                for mailbox in sizes["mailboxes"]
            ]  # fmt: skip
            # Deep enough to fill a table alone: made for this size of it, and deleted behind it.
            user = f"deep-{n}"
            await write(TABLE, bundles(messages(user, 0, sizes["deep"], _DEEP_PARTITIONS + n)))
            drained = await _drain(client, user, sizes["deep"])
            rows.append({"table": size, "mailbox": sizes["deep"], **drained})
    return rows


async def _fetches(client: Any, mailbox: int, fetches: int) -> dict[str, float]:
    user = f"of-{mailbox}"

    async def pages(mailboxes: Mailboxes, count: int) -> AsyncIterator[Page]:
        for _ in range(count):
            yield await mailboxes.fetch(user)

    mailboxes = await _opened(client)
    await _timed(pages(mailboxes, 10))  # connections, caches
    timed, read = await _timed(pages(mailboxes, fetches))
    if read != fetches * mailbox:
        raise RuntimeError(f"{read} messages in {fetches} fetches of {mailbox}")
    metered = Metered(client)
    return timed | await _counted(metered, pages(await _opened(metered), fetches))


async def _drain(client: Any, user: str, deep: int) -> dict[str, float]:
    """All of it by `pages`: each row is of a page. Then it is acknowledged, and deleted."""
    mailboxes, receipts = await _opened(client), []
    timed, read = await _timed(mailboxes.pages(user, limit=PAGE_MESSAGES))
    if read != deep:
        raise RuntimeError(f"{read} messages of {deep} in a deep mailbox")
    metered = Metered(client)
    again = await _opened(metered)

    async def pages() -> AsyncIterator[Page]:
        async for page in again.pages(user, limit=PAGE_MESSAGES):
            receipts.append(page.receipt)
            yield page

    counted = await _counted(metered, pages())
    await mailboxes.ack(user, receipts[-1])
    while await mailboxes.tidy(user):
        pass
    return timed | counted


async def _opened(client: Any) -> Mailboxes:
    """With the table's record read, which is read once."""
    mailboxes = Mailboxes(client, table=TABLE)
    await mailboxes.fetch("nobody")
    return mailboxes


async def _timed(pages: AsyncIterator[Page]) -> tuple[dict[str, float], int]:
    """What a page took, of some pages; and the messages of all."""
    took, read = [], 0
    used, begin = time.process_time(), time.perf_counter()
    async for page in pages:
        now = time.perf_counter()
        took.append(now - begin)
        read += len(page.messages)
        begin = time.perf_counter()
    cpu_s = time.process_time() - used
    count = len(took)
    return {
        "fetches": count, "p50_s": percentile(took, 0.5), "p99_s": percentile(took, 0.99),
        "cpu_us": round(cpu_s / count * 1e6, 1),
        "cpu_us_per_message": round(cpu_s / read * 1e6, 2) if read else 0.0,
    }, read  # fmt: skip


async def _counted(metered: Metered, pages: AsyncIterator[Page]) -> dict[str, float]:
    """What a page read, of the same pages once more."""
    metered.reset()
    count = 0
    async for _ in pages:
        count += 1
    return {
        "queries": round(metered.queries / count, 2),
        "read_units": round(metered.read_units / count, 2),
        "bytes": round(metered.bytes / count),
    }
