"""A gateway's process: so many users reconnect at once, fetch, and acknowledge.

python -m benchmarks.reading.gateway USERS      prints what it came to, as JSON
"""

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from typing import Any

from benchmarks.reading.mail import percentile
from benchmarks.reading.prepared import PAGE_MESSAGES
from benchmarks.reading.storm import TABLE
from poste_restante import MailboxError, open_mailboxes


async def storm(users: int) -> dict[str, Any]:
    took: dict[str, list[float]] = {"fetched": [], "acknowledged": []}
    errors: Counter[str] = Counter()
    async with open_mailboxes(table=TABLE) as mailboxes:
        before_mb = _peak_mb()
        begin, used = time.perf_counter(), time.process_time()

        async def reconnect(user: str) -> None:
            try:
                page = await mailboxes.fetch(user)
                took["fetched"].append(time.perf_counter() - begin)
                if len(page.messages) != PAGE_MESSAGES:
                    errors[f"{len(page.messages)} messages"] += 1
                await mailboxes.ack(user, page.receipt)
                took["acknowledged"].append(time.perf_counter() - begin)
            except MailboxError as error:
                errors[f"{type(error).__name__}: {error}"] += 1

        await asyncio.gather(*(reconnect(f"user-{n}") for n in range(users)))
        wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - used
    return {
        "users": users, "errors": errors, "wall_s": round(wall_s, 3),
        "users_per_s": round(users / wall_s, 1), "cpu_us_per_user": round(cpu_s / users * 1e6, 1),
        "busy": round(cpu_s / wall_s, 3), "before_mb": before_mb, "peak_mb": _peak_mb(),
        "percentiles_s": {
            name: {f"{part:g}": percentile(each, part) for part in (0.5, 0.99, 0.999, 1)}
            for name, each in took.items() if each
        },
    }  # fmt: skip


def _peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(storm(int(sys.argv[1])))))
