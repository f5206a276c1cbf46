"""Acknowledgements of pages of so many bundles, on DynamoDB Local."""

import time
from typing import Any

from benchmarks.reading.mail import (
    Metered,
    bundles,
    create,
    gateway_client,
    messages,
    percentile,
    write,
)
from poste_restante import Mailboxes
from worker.bundles import BundleLimits

TABLE = "acknowledged"
#: Each mailbox is acknowledged once, and few large ones will do.
ACKS_MIN, ACKS_MAX = 10, 200


async def measure(sizes: dict[str, Any]) -> list[dict[str, float]]:
    """A row for each number of bundles, each of one message: its deletion costs a unit.

    sizes["acks"]: bundles in all, of each row, as far as the limits above let it.
    """
    rows: list[dict[str, float]] = []
    await create(TABLE)
    first = 0  # offsets are used once
    async with gateway_client() as client:
        metered = Metered(client)
        mailboxes = Mailboxes(metered, table=TABLE)
        for count in sizes["bundles"]:
            acks = max(ACKS_MIN, min(ACKS_MAX, sizes["acks"] // count))
            users = {f"of-{count}-{n}": first + n * count for n in range(acks)}
            first += acks * count
            await write(
                TABLE,
                (
                    bundle
                    for user, begin in users.items()
                    for bundle in bundles(messages(user, begin, count), BundleLimits(1))
                ),
            )
            took, used = [], 0.0
            metered.reset()
            for user in users:
                receipt = (await mailboxes.fetch(user)).receipt
                begin, before = time.perf_counter(), time.process_time()
                await mailboxes.ack(user, receipt)
                took.append(time.perf_counter() - begin)
                used += time.process_time() - before
            rows.append({
                "bundles": count, "acks": len(users),
                "p50_s": percentile(took, 0.5), "p99_s": percentile(took, 0.99),
                "cpu_us": round(used / len(users) * 1e6, 1),
                "calls": round(metered.writes / len(users), 2),
                "write_units": round(metered.write_units / len(users), 2),
            })  # fmt: skip
    return rows
