"""A topic, a table and a group of their own; producers, workers as real processes, and readers."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)  # fmt: skip
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from local.child import Child
from local.tool import KafkaTool
from poste_restante import Mailboxes, Message, open_mailboxes
from tests.kafka_admin import KafkaAdmin, KafkaException
from tests.preloaded import PreloadedChild, run_preloaded
from worker.cli import provisioning
from worker.cli.admin_client import AdminClient, open_admin_client
from worker.cli.deadline_store import open_deadline_store
from worker.cli.rendering import progress_object
from worker.config_file import load_settings
from worker.kafka.admin import open_kafka_admin

#: Seconds until a condition must hold. A take-over waits out a session time-out, on a busy
#: machine; a hang fails the test, it does not pass it.
DEADLINE_S = 60.0
#: Seconds between two looks.
_POLL_S = 0.1
#: Seconds that one `poste` command may take.
COMMAND_S_MAX = 60.0

T = TypeVar("T")


def run_aside(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it to its end in an event loop of its own; the caller may be in one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work()).result()


@dataclass
class Deployment:
    """One test's world. environment: what makes `poste` act in it. tool: Kafka's own, where the
    broker is ours. fresh: each process starts an interpreter of its own."""

    environment: dict[str, str]
    directory: Path
    tool: KafkaTool | None
    topic: str
    table: str
    group: str
    workers: list[Child] = field(default_factory=list)
    fresh: bool = False

    # ---- the command and the workers

    def poste(
        self, *arguments: str, check: bool = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `poste` to its end."""
        command = [sys.executable, "-m", "worker", *arguments]
        environment = {**self.environment, **env}
        if self.fresh:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True,
                check=False, timeout=COMMAND_S_MAX,
            )  # fmt: skip
        else:
            done = run_preloaded(command, environment, COMMAND_S_MAX)
        if check:
            assert done.returncode == 0, f"poste {arguments}: {done.stderr}"
        return done

    def init(self, partitions: int = 2) -> None:
        """What `poste init` does, called: a process costs a second of the processor."""
        settings = load_settings(None, self.environment)

        async def work() -> None:
            async with (
                open_kafka_admin(settings.kafka) as kafka,
                open_deadline_store(settings.dynamodb) as store,
            ):
                async for _ in provisioning.init(
                    settings, kafka, store, check=False, partitions=partitions, replication=1
                ):
                    pass

        run_aside(work)

    def worker(self, **env: str) -> Child:
        """Start one; it is ended with the deployment."""
        child = (Child if self.fresh else PreloadedChild)(
            [sys.executable, "-m", "worker", "worker"],
            log=self.directory / f"worker-{len(self.workers)}.log",
            env={**self.environment, **env},
        )
        child.start()
        self.workers.append(child)
        return child

    def kafka_tool(self, main: str, *arguments: str, text: str | None = None) -> str:
        """One of Kafka's own command-line tools; what it printed."""
        assert self.tool is not None, (
            "this test uses Kafka's own tools: give no address of a broker"
        )
        return self.tool(main, *arguments, text=text)

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

    @property
    def admin(self) -> KafkaAdmin:
        """The broker's, as an operator."""
        return KafkaAdmin(self.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"])

    def move_group(self, to: int | str) -> None:
        """The group's offset of every partition: a number, "earliest" or "latest". All members have
        left."""
        self.admin.move_group(self.group, self.topic, to)

    def delete_topic(self) -> None:
        self.admin.delete_topic(self.topic)

    def create_topic(self, partitions: int, **config: str) -> None:
        """config: by Kafka's own names, `_` for their dots."""
        named = {name.replace("_", "."): value for name, value in config.items()}
        self.admin.create_topic(self.topic, partitions, named)

    async def create_topic_again(self, partitions: int) -> None:
        """Behind `delete_topic`, as soon as the broker has removed it."""

        def made_again() -> bool:
            try:
                self.create_topic(partitions)
            except KafkaException:
                return False
            return True

        await self.until(made_again, "the topic is made again")

    # ---- progress and mailboxes

    def progress(self) -> list[dict[str, Any]]:
        """The partitions, as `poste progress --json` prints them."""

        async def work() -> list[dict[str, Any]]:
            async with open_admin_client(load_settings(None, self.environment)) as admin:
                return await _partitions(admin)

        return run_aside(work)

    async def drained(self, seconds: float = DEADLINE_S) -> None:
        """Progress and the group's offset of every partition stand at the log's end."""
        async with open_admin_client(load_settings(None, self.environment)) as admin:

            async def is_so() -> bool:
                return all(
                    p["next"] is not None
                    and p["lag"] == 0
                    and p["group_offset"] in {p["next"], None if p["next"] == 0 else p["next"]}
                    for p in await _partitions(admin)
                )

            await self.until(is_so, "all is materialized and committed", seconds)

    @asynccontextmanager
    async def mailboxes(self, **options: Any) -> AsyncIterator[Mailboxes]:
        """options: of `open_mailboxes`."""
        async with open_mailboxes(table=self.table, timeout_s=10.0, **options) as opened:
            yield opened

    async def read(self, user_id: str) -> list[Message]:
        """Everything in a mailbox, without acknowledging."""
        async with self.mailboxes() as mailboxes:
            return [m async for page in mailboxes.pages(user_id) for m in page.messages]

    async def bodies(self, user_id: str) -> list[bytes]:
        return [message.body for message in await self.read(user_id)]


async def _partitions(admin: AdminClient) -> list[dict[str, Any]]:
    found = progress_object(admin, await admin.partition_statuses(), await admin.freshness())
    partitions: list[dict[str, Any]] = found["partitions"]
    return partitions


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
