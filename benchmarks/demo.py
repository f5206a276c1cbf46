"""The story in two minutes, on the real services, each claim checked: `make demo`.

Two workers; 10,000 messages to 1,000 offline users and Bob; a second consumer group on the same
topic; `kill -9` of one worker in mid-stream; Bob reconnects with a Query or two, acknowledges, and
finds nothing more; the group is rewound to the start and everything is replayed: still nothing.

Exits with 1 when a check fails. Leaves nothing running.
"""

import asyncio
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aioboto3
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from local import Services, ServicesMissingError, start_services
from local.child import Child
from local.interrupts import exit_status
from poste_restante import Mailboxes
from worker.cli.admin_client import AdminClient, open_admin_client
from worker.config_file import load_settings

MESSAGES, USERS, BOBS = 10_000, 1_000, 120
PARTITIONS = 8
#: Messages a second: so that there is a mid-stream to kill a worker in.
RATE = 2_500
#: Seconds until everything must be materialized: a take-over waits out the session time-out.
DRAIN_S_MAX = 90.0


class Checks:
    """What was claimed, and whether it held."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.failed = 0

    def that(self, claim: str, *, holds: bool) -> None:
        self.failed += not holds
        mark = "[green]ok[/]    " if holds else "[red]FAILED[/]"
        self._console.print(f"  {mark} {claim}", highlight=False)


class Metered:
    """A DynamoDB client that asks every Query what it cost, and keeps count."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.queries: list[tuple[float, float]] = []  # milliseconds, read units

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def query(self, **arguments: Any) -> Any:
        begin = time.perf_counter()
        answer = await self._client.query(**arguments, ReturnConsumedCapacity="TOTAL")
        milliseconds = (time.perf_counter() - begin) * 1000
        self.queries.append((milliseconds, answer["ConsumedCapacity"]["CapacityUnits"]))
        return answer


def messages() -> list[tuple[str, bytes]]:
    """Who gets what, in the order of sending; Bob's are spread over all of it."""
    every = MESSAGES // BOBS
    return [
        ("bob" if n % every == 0 and n < every * BOBS else f"user-{n % USERS}", b"message %d" % n)
        for n in range(MESSAGES)
    ]


class Demo:
    """One run. environment: where the services are."""

    def __init__(self, services: Services, console: Console) -> None:
        self.console = console
        self.checks = Checks(console)
        self.sent = messages()
        self.directory = Path(tempfile.mkdtemp(dir=services.directory))
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("POSTE_")},
            **services.environment,
            "POSTE_HTTP__PORT": "0",
            "POSTE_KAFKA__COMMIT_INTERVAL_S": "1",
        }
        os.environ.update(services.environment)
        self.settings = load_settings(
            None, {k: v for k, v in self.environment.items() if k.startswith("POSTE_")}
        )
        self.bootstrap = services.bootstrap
        self.workers: list[Child] = []
        self.children: list[Child] = []

    def poste(self, *arguments: str) -> Child:
        child = Child(
            [sys.executable, "-m", "worker", *arguments],
            log=self.directory / f"{arguments[0]}-{len(self.workers)}.log",
            env=self.environment,
        )
        child.start()
        self.children.append(child)
        return child

    def start_worker(self) -> Child:
        child = self.poste("worker")
        self.workers.append(child)
        return child

    async def run(self) -> int:
        """Number of failed checks. Its children have ended when it has, also where it is
        cancelled: a thread that waits for one of them waits no longer."""
        try:
            return await self.story()
        finally:
            self.end()

    async def story(self) -> int:
        made = self.poste("init", "--partitions", str(PARTITIONS), "--replication-factor", "1")
        if await asyncio.to_thread(made.wait, 60.0) != 0:
            raise RuntimeError(f"poste init:\n{made.tail()}")
        first, _second = self.start_worker(), self.start_worker()
        self.console.print("two workers, one consumer group; and a second group on the same topic")
        async with AsyncExitStack() as stack:
            admin = await stack.enter_async_context(open_admin_client(self.settings))
            fan_out = asyncio.create_task(self.count_as_another_group())
            await self.stream(admin, kill_in_mid_stream=first)
            client = await stack.enter_async_context(aioboto3.Session().client("dynamodb"))
            await self.bob_reconnects(client)
            self.checks.that(
                f"the other consumer group saw all {MESSAGES:,} messages as well",
                holds=await asyncio.wait_for(fan_out, DRAIN_S_MAX) == MESSAGES,
            )
            await self.replay(admin)
            await self.still_nothing(client)
        return self.checks.failed

    async def count_as_another_group(self) -> int:
        """Kafka is kept for fan-out: a push notifier reads the same topic."""
        consumer = AIOKafkaConsumer(
            self.settings.kafka.topic, bootstrap_servers=self.bootstrap,
            group_id="push-notifier", auto_offset_reset="earliest",
        )  # fmt: skip
        await consumer.start()
        try:
            count = 0
            while count < MESSAGES:
                fetched = await consumer.getmany(timeout_ms=500)
                count += sum(map(len, fetched.values()))
            return count
        finally:
            await consumer.stop()

    def bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
            TimeElapsedColumn(), console=self.console,
        )  # fmt: skip

    async def stream(self, admin: AdminClient, *, kill_in_mid_stream: Child) -> None:
        """Send all, and kill one worker when half is sent; until all is materialized."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=5)
        await producer.start()
        with self.bar() as bar:
            sending = bar.add_task(
                f"{MESSAGES:,} messages to {USERS:,} users and Bob", total=MESSAGES
            )
            try:
                for n, (user, body) in enumerate(self.sent):
                    await producer.send(self.settings.kafka.topic, key=user.encode(), value=body)
                    bar.update(sending, completed=n + 1)
                    if n % (RATE // 20) == 0:
                        await asyncio.sleep(0.05)
                    if n == MESSAGES // 2:
                        kill_in_mid_stream.kill()
                        bar.console.print("  kill -9 of one worker, in mid-stream")
            finally:
                await producer.stop()
            await self.materialized(admin, bar, "materialized into mailboxes")

    async def materialized(self, admin: AdminClient, bar: Progress, what: str) -> None:
        task = bar.add_task(what, total=MESSAGES)
        deadline = time.monotonic() + DRAIN_S_MAX
        while True:
            partition_statuses = await admin.partition_statuses()
            done = sum(s.group or 0 for s in partition_statuses)
            bar.update(task, completed=done)
            if done == MESSAGES and all(s.lag == 0 for s in partition_statuses):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what}: {done} of {MESSAGES} within {DRAIN_S_MAX:.0f} s")
            await asyncio.sleep(0.3)

    async def bob_reconnects(self, client: Any) -> None:
        metered = Metered(client)
        mailboxes = Mailboxes(metered, table=self.settings.dynamodb.table)
        await mailboxes.fetch("nobody")  # the gateway has been up for a while
        metered.queries.clear()
        page = await mailboxes.fetch("bob")
        count = len(metered.queries)
        milliseconds, units = map(sum, zip(*metered.queries, strict=True))
        self.console.print(
            f"Bob reconnects: {'one Query' if count == 1 else f'{count} Queries'},"
            f" {milliseconds:.1f} ms, {units:g} read units, {len(page.messages)} messages",
            highlight=False,
        )
        wanted = [body for user, body in self.sent if user == "bob"]
        self.checks.that("the reconnect was one Query or two", holds=count in {1, 2})
        self.checks.that(
            f"all {len(wanted)} of Bob's messages are there, in order, each once",
            holds=[m.body for m in page.messages] == wanted and not page.more,
        )
        assert page.receipt is not None
        await mailboxes.ack("bob", page.receipt)
        again = await mailboxes.fetch("bob")
        self.checks.that("acknowledged: a second fetch is empty", holds=not again.messages)

    async def replay(self, admin: AdminClient) -> None:
        """Stop the workers, rewind the group to the start, and let one replay everything."""
        for child in self.workers:
            child.signal(signal.SIGTERM)
        ended = [await asyncio.to_thread(child.wait, 60.0) for child in self.workers]
        self.checks.that("SIGTERM drained the other worker: exit status 0", holds=ended[1] == 0)
        starts = dict.fromkeys(admin.partitions, 0)
        await admin.groups.commit(self.settings.kafka.group, self.settings.kafka.topic, starts)
        self.console.print("the group is rewound to the start of the topic; one worker replays it")
        self.start_worker()
        with self.bar() as bar:
            await self.materialized(admin, bar, "replayed")

    async def still_nothing(self, client: Any) -> None:
        mailboxes = Mailboxes(client, table=self.settings.dynamodb.table)
        self.checks.that(
            "after the replay nothing has come back to Bob",
            holds=not (await mailboxes.fetch("bob")).messages,
        )
        wrong = 0
        for n in range(USERS):
            user = f"user-{n}"
            found = [m.body async for page in mailboxes.pages(user) for m in page.messages]
            wrong += found != [body for u, body in self.sent[n::USERS] if u == user]
        self.checks.that(
            f"the other {USERS:,} mailboxes hold every message, in order, each once",
            holds=wrong == 0,
        )

    def end(self) -> None:
        for child in self.children:
            child.kill()


def main(start: Callable[[], Services] = start_services) -> int:
    """Exit status: 0 when every check held."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a cluster's first seconds
    console = Console()
    begin = time.monotonic()
    console.print("starting Kafka and DynamoDB ...")
    try:
        services = start()
    except (ServicesMissingError, RuntimeError) as error:
        console.print(f"make demo: {error}")
        return 1
    with services:
        demo = Demo(services, console)
        try:
            failed = asyncio.run(demo.run())
        except RuntimeError as error:
            console.print(f"[red]FAILED[/] {error}")
            failed = 1
    seconds = time.monotonic() - begin
    verdict = "all checks held" if not failed else f"{failed} checks FAILED"
    console.print(f"{verdict}, {seconds:.0f} s", highlight=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(exit_status("make demo", main))
