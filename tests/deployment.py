"""A topic, a table and a group of their own; producers, workers as real processes, and readers."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from local.child import Child
from poste_restante import Mailboxes, Message, open_mailboxes

#: Seconds until a condition must hold. A take-over waits out a session time-out, on a busy
#: machine; a hang fails the test, it does not pass it.
DEADLINE_S = 60.0
#: Seconds between two looks.
_POLL_S = 0.1
#: Seconds that one `poste` command may take.
COMMAND_S_MAX = 60.0

_GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
_TOPICS = "org.apache.kafka.tools.TopicCommand"

Tool = Callable[..., str]


@dataclass
class Deployment:
    """One test's world. environment: what makes `poste` act in it. tool: Kafka's own."""

    environment: dict[str, str]
    directory: Path
    tool: Tool
    topic: str
    table: str
    group: str
    workers: list[Child] = field(default_factory=list)

    # ---- the command and the workers

    def poste(
        self, *arguments: str, check: bool = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `poste` to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            env={**self.environment, **env}, capture_output=True, text=True,
            check=False, timeout=COMMAND_S_MAX,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"poste {arguments}: {done.stderr}"
        return done

    def init(self, partitions: int = 2) -> None:
        self.poste("init", "--partitions", str(partitions), "--replication-factor", "1")

    def worker(self, **env: str) -> Child:
        """Start one; it is ended with the deployment."""
        child = Child(
            [sys.executable, "-m", "worker", "worker"],
            log=self.directory / f"worker-{len(self.workers)}.log",
            env={**self.environment, **env},
        )
        child.start()
        self.workers.append(child)
        return child

    def end(self) -> None:
        for child in self.workers:
            child.kill()

    def log(self) -> str:
        """What all workers have said."""
        return "\n".join(child.output() for child in self.workers)

    async def until(
        self, condition: Callable[[], Any], what: str, seconds: float = DEADLINE_S
    ) -> None:
        """Wait for a condition, plain or asynchronous; fail, with the workers' logs, if not."""
        deadline = time.monotonic() + seconds
        while True:
            result = condition()
            if isinstance(result, Awaitable):
                result = await result
            if result:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:.0f} s: {what}\n{self.log()[-6000:]}")
            await asyncio.sleep(_POLL_S)

    async def said(self, text: str, seconds: float = DEADLINE_S) -> None:
        await self.until(lambda: text in self.log(), f"a worker says {text!r}", seconds)

    async def exited(self, child: Child, seconds: float = DEADLINE_S) -> int:
        await self.until(lambda: not child.alive, "the worker ends", seconds)
        return child.wait()

    # ---- Kafka

    async def produce(
        self,
        records: Iterable[tuple[str | bytes | None, bytes | None] | Mapping[str, Any]],
        topic: str | None = None,
    ) -> list[tuple[int, int]]:
        """(key, value) pairs, or arguments of `send`; (partition, offset) of each."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"],
            acks="all", max_request_size=20 * 1024 * 1024,
        )  # fmt: skip
        await producer.start()
        try:
            sent = []
            for record in records:
                if not isinstance(record, Mapping):
                    record = {"key": record[0], "value": record[1]}  # noqa: PLW2901
                key = record.get("key")
                arguments = {**record, "key": key.encode() if isinstance(key, str) else key}
                sent.append(await producer.send(topic or self.topic, **arguments))
            return [(m.partition, m.offset) for m in await asyncio.gather(*sent)]
        finally:
            await producer.stop()

    async def consumed(self, topic: str, count: int) -> list[Any]:
        """The first `count` records of a topic, whatever their partition."""
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=self.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"],
            auto_offset_reset="earliest", group_id=None,
        )  # fmt: skip
        await consumer.start()
        try:
            found: list[Any] = []
            deadline = time.monotonic() + DEADLINE_S
            while len(found) < count and time.monotonic() < deadline:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found += records
            return found
        finally:
            await consumer.stop()

    def reset_offsets(self, *how: str) -> None:
        """Move the group's offsets by Kafka's own tool; all members must have left."""
        self.tool(_GROUPS, "--group", self.group, "--topic", self.topic,
                  "--reset-offsets", *how, "--execute")  # fmt: skip

    def delete_group(self) -> None:
        self.tool(_GROUPS, "--group", self.group, "--delete")

    def delete_topic(self) -> None:
        self.tool(_TOPICS, "--delete", "--topic", self.topic)

    def create_topic(self, partitions: int, *config: str) -> None:
        more = [part for entry in config for part in ("--config", entry)]
        self.tool(_TOPICS, "--create", "--topic", self.topic,
                  "--partitions", str(partitions), *more)  # fmt: skip

    # ---- progress and mailboxes

    def progress(self) -> list[dict[str, Any]]:
        partitions: list[dict[str, Any]] = json.loads(self.poste("progress", "--json").stdout)[
            "partitions"
        ]
        return partitions

    async def drained(self, seconds: float = DEADLINE_S) -> None:
        """Progress and the group's offset of every partition stand at the log's end."""

        async def is_so() -> bool:
            found = await asyncio.to_thread(self.progress)
            return all(
                p["next"] is not None
                and p["lag"] == 0
                and p["group_offset"] in {p["next"], None if p["next"] == 0 else p["next"]}
                for p in found
            )

        await self.until(is_so, "all is materialized and committed", seconds)

    @asynccontextmanager
    async def mailboxes(self) -> AsyncIterator[Mailboxes]:
        async with open_mailboxes(table=self.table, timeout_s=10.0) as opened:
            yield opened

    async def read(self, user_id: str) -> list[Message]:
        """Everything in a mailbox, without acknowledging."""
        async with self.mailboxes() as mailboxes:
            return [m async for page in mailboxes.pages(user_id) for m in page.messages]

    async def bodies(self, user_id: str) -> list[bytes]:
        return [message.body for message in await self.read(user_id)]


def deployment_environment(
    services: Mapping[str, str], *, topic: str, table: str, group: str
) -> dict[str, str]:
    """The environment of a deployment's children: quick to commit, and without an HTTP server."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("POSTE_", "AWS_"))},
        **services,
        "POSTE_KAFKA__TOPIC": topic,
        "POSTE_KAFKA__GROUP": group,
        "POSTE_KAFKA__COMMIT_INTERVAL_S": "0.5",
        "POSTE_KAFKA__SESSION_TIMEOUT_S": "6",
        "POSTE_DYNAMODB__TABLE": table,
        "POSTE_HTTP__PORT": "0",
        "PYTHONUNBUFFERED": "1",
    }


def expected(records: Sequence[tuple[str, bytes]], user_id: str) -> list[bytes]:
    """What a mailbox must hold of what was produced, in order."""
    return [value for key, value in records if key == user_id]


__all__ = ["DEADLINE_S", "Deployment", "deployment_environment", "expected", "signal"]
