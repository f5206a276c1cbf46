"""Option C, one look-up: at the worker that has the user's partition, and at one that has not.

Faust's own routing: every worker knows from the group's last assignment which one has a partition,
and forwards the HTTP request there. What is asked for is the same, from the same client, over one
connection that stays open.
"""

import json
import statistics
import time
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from benchmarks.process import cpu_s
from benchmarks.why_not_kafka.rebuilt import PARTITIONS, VALUE_BYTES, Group

#: Look-ups of each kind. Each user is asked for once before, which tells of which kind it is.
LOOKUPS = 500
#: Users for each look-up, of whom each of the two workers has about a half.
_USERS_PER_LOOKUP = 4
#: Seconds that one may take.
LOOKUP_S_MAX = 30.0


def measure(
    bootstrap: str, directory: Path, *, name: str = "routed", lookups: int = LOOKUPS
) -> list[dict[str, Any]]:
    """A point for each kind: `local` and `forwarded`."""
    users = [f"user-{n}" for n in range(_USERS_PER_LOOKUP * lookups)]
    group = Group(name, bootstrap, directory, users=len(users))
    group.fill()
    try:
        first, _ = group.start()
        group.recovered(first, PARTITIONS)
        second, _ = group.start()
        for worker in (first, second):
            group.recovered(worker, PARTITIONS // 2)
        with _connection(group.ports[0]) as ask:
            answered_by = {user: ask(user)["worker"] for user in users}
            kinds = {
                way: [user for user in users if answered_by[user] == worker.pid][:lookups]
                for way, worker in (("local", first), ("forwarded", second))
            }
            if any(len(found) < lookups for found in kinds.values()):
                raise RuntimeError(f"not each worker answers for {lookups} of {len(users)} users")
            workers = [first.pid, second.pid]
            return [{"way": way, **_asked(ask, found, workers)} for way, found in kinds.items()]
    finally:
        group.end()


@contextmanager
def _connection(port: int) -> Iterator[Any]:
    """A function that asks the worker there for a user."""
    connection = HTTPConnection("127.0.0.1", port, timeout=LOOKUP_S_MAX)

    def ask(user: str) -> dict[str, Any]:
        connection.request("GET", f"/mailbox/{user}/")
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"a look-up was answered with status {answer.status}")
        found: dict[str, Any] = json.loads(content)
        if len(b64decode(found["body"])) != VALUE_BYTES:
            raise RuntimeError(f"what is stored for {user} is not what was found")
        return found

    try:
        yield ask
    finally:
        connection.close()


def _asked(ask: Any, users: Sequence[str], workers: Sequence[int]) -> dict[str, float]:
    """One after the other. cpu_s: of both workers, a look-up."""
    took, used = [], sum(map(cpu_s, workers))
    for user in users:
        begin = time.perf_counter()
        ask(user)
        took.append(time.perf_counter() - begin)
    cpu = sum(map(cpu_s, workers)) - used
    *_, p99 = statistics.quantiles(took, n=100)
    return {
        "lookups": len(users), "p50_s": round(statistics.median(took), 6),
        "p99_s": round(p99, 6), "cpu_s": round(cpu / len(users), 6),
    }  # fmt: skip
