"""Fetches of mailboxes of several sizes, while the table around them grows."""

import sys
import time
from collections.abc import AsyncIterator, Callable
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
        metered = Metered(client)
        for n, size in enumerate(sizes["tables"]):
            print(f"  {size} messages in the table", file=sys.stderr, flush=True)
            await write(TABLE, others(written, size))
            written = size
            rows += [
                {"table": size, "mailbox": mailbox,
                 **await _fetches(metered, mailbox, sizes["fetches"])}
                for mailbox in sizes["mailboxes"]
            ]  # fmt: skip
            # Deep enough to fill a table alone: made for this size of it, and deleted behind it.
            user = f"deep-{n}"
            await write(TABLE, bundles(messages(user, 0, sizes["deep"], _DEEP_PARTITIONS + n)))
            mailboxes = Mailboxes(metered, table=TABLE)
            drained = await _drain(metered, mailboxes, user, sizes["deep"])
            rows.append({"table": size, "mailbox": sizes["deep"], **drained})
    return rows


async def _fetches(metered: Metered, mailbox: int, fetches: int) -> dict[str, float]:
    mailboxes = Mailboxes(metered, table=TABLE)
    user = f"of-{mailbox}"

    async def pages(count: int) -> AsyncIterator[Page]:
        for _ in range(count):
            yield await mailboxes.fetch(user)

    await _timed(metered, lambda: pages(10))  # connections, caches
    found, read = await _timed(metered, lambda: pages(fetches))
    if read != fetches * mailbox:
        raise RuntimeError(f"{read} messages in {fetches} fetches of {mailbox}")
    return found


async def _drain(metered: Metered, mailboxes: Mailboxes, user: str, deep: int) -> dict[str, float]:
    """All of it by `pages`: each row is of a page. Then it is acknowledged, so deleted."""
    receipts = []

    async def pages() -> AsyncIterator[Page]:
        async for page in mailboxes.pages(user, limit=PAGE_MESSAGES):
            receipts.append(page.receipt)
            yield page

    found, read = await _timed(metered, pages)
    if read != deep:
        raise RuntimeError(f"{read} messages of {deep} in a deep mailbox")
    for receipt in receipts:
        await mailboxes.ack(user, receipt)
    return found


async def _timed(
    metered: Metered, pages: Callable[[], AsyncIterator[Page]]
) -> tuple[dict[str, float], int]:
    """What a page took and cost, of some pages; and the messages of all."""
    metered.reset()
    took, read = [], 0
    used, begin = time.process_time(), time.perf_counter()
    async for page in pages():
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
        "queries": round(metered.queries / count, 2),
        "read_units": round(metered.read_units / count, 2),
        "bytes": round(metered.bytes / count),
    }, read  # fmt: skip
