"""Option C: a table rebuilt from the log, and queried where it lives: a Faust table.

A look-up is a dictionary's. What it costs instead: a process that starts, or is given a partition,
has no whole answer until it has read the partition's changelog; whoever asks must come to that
process; and to be whole sooner takes a second copy of everything (standby).
"""

import json
import os
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.process import resident_mb
from benchmarks.why_not_kafka import faust_table_path
from benchmarks.why_not_kafka.scan import QUICK_READER, TAKE
from tests.services.child import Child
from tests.services.ready import free_ports, wait_until

PARTITIONS = 4
#: Of a user's mailbox in the table: a few messages.
VALUE_BYTES = 600
#: Seconds until a table must be whole.
RECOVER_S_MAX = 600.0
#: Readings of the changelog, of which the median is reported.
READINGS = 3


class Group:
    """The workers of one Faust app, on a changelog of so many users."""

    def __init__(
        self, name: str, bootstrap: str, directory: Path, *, users: int, standbys: int = 0
    ) -> None:
        self.name = name
        self.workers: list[Child] = []
        self.ports: list[int] = []
        self._bootstrap, self._directory = bootstrap, directory
        self._users, self._standbys = users, standbys

    def fill(self) -> None:
        """The changelog as Faust would have written it: a value per user, compacted already."""
        admin = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 0})
        topics = [
            NewTopic("table-source", PARTITIONS, 1),
            NewTopic(self.changelog, PARTITIONS, 1, config={"cleanup.policy": "compact"}),
        ]
        there = admin.list_topics(timeout=60).topics
        missing = [topic for topic in topics if topic.topic not in there]
        for future in admin.create_topics(missing).values():
            future.result(60)
        producer = Producer({
            "bootstrap.servers": self._bootstrap, "compression.type": "zstd", "linger.ms": 50,
            "queue.buffering.max.messages": 500_000,
            # Where Faust, and a Java client, look for a key.
            "partitioner": "murmur2_random",
        })  # fmt: skip
        random_ = random.Random(11)
        for n in range(self._users):
            value = random_.randbytes(VALUE_BYTES // 2) + bytes(VALUE_BYTES // 2)
            producer.produce(self.changelog, key=b"user-%d" % n, value=value)
            if n % 1_000 == 0:
                producer.poll(0)
                while len(producer) > 400_000:
                    producer.poll(0.1)
        if producer.flush(RECOVER_S_MAX):
            raise RuntimeError("the changelog is not written")

    @property
    def changelog(self) -> str:
        return f"{self.name}-mailboxes-changelog"

    def start(self) -> tuple[Child, float]:
        """One worker more, and when it was started."""
        number, (port,) = len(self.workers), free_ports(1)
        data = self._directory / f"{self.name}-{number}"
        worker = Child(
            [sys.executable, str(faust_table_path()), "worker", "-l", "warn",
             "--web-host", "127.0.0.1", "--web-bind", "127.0.0.1", "--web-port", str(port)],
            log=self._directory / f"{self.name}-{number}.log",
            env={
                **os.environ, "TABLE_APP": self.name, "TABLE_BOOTSTRAP": self._bootstrap,
                "TABLE_PARTITIONS": str(PARTITIONS), "TABLE_STANDBYS": str(self._standbys),
                "TABLE_DATA": str(data),
            },
        )  # fmt: skip
        self.workers.append(worker)
        self.ports.append(port)
        begin = time.monotonic()
        worker.start()
        return worker, begin

    def recovered(self, worker: Child, partitions: int, since: float = 0.0) -> dict[str, Any]:
        """What it said when its table of so many partitions was whole; waits for that."""
        return self._said(worker, "recovered", partitions, since)

    def standing_by(self, worker: Child, partitions: int, since: float = 0.0) -> dict[str, Any]:
        """The same of its standby copies."""
        return self._said(worker, "standing_by", partitions, since)

    def _said(self, worker: Child, event: str, partitions: int, since: float) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def said() -> bool:
            found[:] = [
                one for one in events(worker)
                if one["event"] == event and one["at"] >= since
                and len(one["partitions"]) == partitions
            ]  # fmt: skip
            return bool(found)

        wait_until(said, what=f"a table {event}", seconds=RECOVER_S_MAX, child=worker)
        return found[0]

    def end(self) -> None:
        for worker in self.workers:
            worker.kill()


def events(worker: Child) -> list[dict[str, Any]]:
    """What a worker has said so far."""
    lines = worker.output().splitlines()
    return [json.loads(line.partition("json:")[2]) for line in lines if "json:{" in line]


def restored(bootstrap: str, directory: Path, sizes: list[int]) -> list[dict[str, float]]:
    """A point per size: from the start of the one worker until it can answer."""
    points = []
    for users in sizes:
        group = Group(f"restored-{users}", bootstrap, directory, users=users)
        group.fill()
        try:
            worker, begin = group.start()
            said = group.recovered(worker, PARTITIONS)
            if said["keys"] != users:
                raise RuntimeError(f"a table of {said['keys']} of {users} users is no table")
            points.append({
                "users": users, "state_mb": round(users * VALUE_BYTES / 1e6, 1),
                "seconds": round(said["at"] - begin, 2), "cpu_s": round(said["cpu_s"], 2),
                "resident_mb": round(resident_mb(worker.pid), 1),
                "lookup_us": round(said["lookup_us"], 2),
            })  # fmt: skip
        finally:
            group.end()
    return points


def floor(bootstrap: str, directory: Path, sizes: list[int]) -> list[dict[str, float]]:
    """The same with the quickest client there is for Python, and a dictionary for a table: what
    reading the changelog takes, whatever is built on it."""
    points = []
    for users in sizes:
        group = Group(f"floor-{users}", bootstrap, directory, users=users)
        group.fill()
        runs = [_read(bootstrap, group.changelog, users) for _ in range(READINGS)]
        points.append({
            "users": users, "state_mb": round(users * VALUE_BYTES / 1e6, 1),
            "seconds": round(statistics.median(seconds for seconds, _ in runs), 4),
            "cpu_s": round(statistics.median(cpu for _, cpu in runs), 4), "runs": READINGS,
        })  # fmt: skip
    return points


def _read(bootstrap: str, changelog: str, users: int) -> tuple[float, float]:
    """Seconds and processor time, of a client that is new."""
    begin, used = time.monotonic(), time.process_time()
    consumer = Consumer({**QUICK_READER, "bootstrap.servers": bootstrap, "group.id": "floor"})
    consumer.assign([TopicPartition(changelog, p, 0) for p in range(PARTITIONS)])
    values: dict[bytes, bytes] = {}
    while len(values) < users:
        # No more than there are: it would be waited for.
        for message in consumer.consume(min(TAKE, users - len(values)), timeout=1.0):
            if message.error() is not None:
                raise RuntimeError(str(message.error()))
            values[message.key()] = message.value()
        if time.monotonic() - begin > RECOVER_S_MAX:
            raise RuntimeError(f"{len(values):,} of {users:,} users were read")
    found = time.monotonic() - begin, time.process_time() - used
    consumer.close()
    return found


def rebalanced(bootstrap: str, directory: Path, users: int, standbys: int) -> dict[str, float]:
    """Seconds without a whole table: of what a joining worker is given, of what stays, and of a
    killed worker's part. Standby copies are complete before that."""
    group = Group(
        f"rebalanced-{users}-{standbys}", bootstrap, directory, users=users, standbys=standbys
    )
    group.fill()
    try:
        first, _ = group.start()
        group.recovered(first, PARTITIONS)
        second, _ = group.start()
        given = group.recovered(second, PARTITIONS // 2)
        kept = group.recovered(first, PARTITIONS // 2)
        taken = max(
            said["at"] for said in events(first)
            if said["event"] == "revoked" and said["at"] < given["at"]
        )  # fmt: skip
        if standbys:
            for worker in (first, second):
                group.standing_by(worker, PARTITIONS // 2, since=taken)
        resident = [resident_mb(worker.pid) for worker in (first, second)]
        killed = time.monotonic()
        first.kill()
        whole = group.recovered(second, PARTITIONS, since=killed)
        if whole["keys"] != users:
            raise RuntimeError(f"a table of {whole['keys']} of {users} users is no table")
        return {
            "users": users, "standbys": standbys,
            "joining_s": round(given["at"] - taken, 2), "kept_s": round(kept["at"] - taken, 2),
            "killed_s": round(whole["at"] - killed, 2),
            "resident_mb_both": round(sum(resident), 1),
        }  # fmt: skip
    finally:
        group.end()
