"""How long a mailbox's writes pause when something goes away: `make availability`.

Two workers with the default settings, eight partitions, one mailbox in each. Every mailbox gets a
message every 50 ms, and is looked into as often. A message's *wait* is from its acknowledgement by
the broker until a reader sees it; the *pause* of an event is the longest wait of a message that was
sent around it, in the partitions of the worker that it affects, and in the others.
*Back* is from the return of a service until everything that was sent before it is readable.

Prints a line of JSON and the table of docs/operations.md: of each event the pauses of all runs.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aioboto3
from aiokafka import AIOKafkaProducer

from benchmarks.md_tables import markdown
from local import DYNAMODB_ADDRESS, Services, ServicesMissingError, start_services
from local.interrupts import exit_status
from poste_restante.item import decode_bundle
from tests.deployment import Deployment, deployment_environment
from tests.fault_proxy import Call, Fault, FaultyEndpoint, Plan, calm

PARTITIONS = 8
#: Seconds between two messages of a mailbox, and between two looks into it.
EVERY_S = 0.05
#: Times each event is made.
RUNS = 3
#: Seconds that the store is away: longer than a session time-out.
OUTAGE_S = 30.0
#: Seconds that the store refuses one mailbox: longer than a drain may take.
THROTTLED_S = 30.0
#: Seconds without an event, before each and as the first row.
CALM_S = 5.0
#: Seconds until everything must be readable again after an event.
READABLE_S_MAX = 120.0
#: Of a static member.
_INSTANCE_ID = "POSTE_KAFKA__GROUP_INSTANCE_ID"
#: The workers' settings are the defaults, where a test's deployment has quicker ones.
DEFAULTS = {"POSTE_KAFKA__COMMIT_INTERVAL_S": "5", "POSTE_KAFKA__SESSION_TIMEOUT_S": "10"}


@dataclass
class Mailbox:
    """Of one partition. acknowledged: when each message was, in the order of sending; waits: of
    those that were seen. last: the newest key seen."""

    partition: int
    acknowledged: list[float] = field(default_factory=list)
    waits: dict[int, float] = field(default_factory=dict)
    last: str = "!"

    @property
    def user_id(self) -> str:
        return f"user-{self.partition}"


class Probe:
    """Sends to every mailbox and looks into it, until it is closed."""

    def __init__(self, deployment: Deployment, upstream: str) -> None:
        self._deployment = deployment
        self._upstream = upstream
        self.mailboxes = [Mailbox(partition) for partition in range(PARTITIONS)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"],
            acks="all", enable_idempotence=True,
        )  # fmt: skip
        await producer.start()
        client = aioboto3.Session().client("dynamodb", endpoint_url=self._upstream)
        async with client as dynamodb, asyncio.TaskGroup() as tasks:
            started = [
                tasks.create_task(work)
                for mailbox in self.mailboxes
                for work in (self._send(producer, mailbox), self._look(dynamodb, mailbox))
            ]
            yield
            for task in started:
                task.cancel()
        await producer.stop()

    async def _send(self, producer: AIOKafkaProducer, mailbox: Mailbox) -> None:
        while True:
            number = len(mailbox.acknowledged)
            await producer.send_and_wait(
                self._deployment.topic, key=mailbox.user_id.encode(), value=b"%d" % number,
                partition=mailbox.partition,
            )  # fmt: skip
            mailbox.acknowledged.append(time.monotonic())
            await asyncio.sleep(EVERY_S)

    async def _look(self, dynamodb: Any, mailbox: Mailbox) -> None:
        while True:
            answer = await dynamodb.query(
                TableName=self._deployment.table, ConsistentRead=True,
                KeyConditionExpression="user_id = :u AND #p > :p",
                ExpressionAttributeNames={"#p": "position"},
                ExpressionAttributeValues={
                    ":u": {"S": mailbox.user_id}, ":p": {"S": mailbox.last}
                },
            )  # fmt: skip
            now = time.monotonic()
            for item in answer["Items"]:
                mailbox.last = item["position"]["S"]
                for message in decode_bundle(item, mailbox.user_id, self._deployment.topic):
                    number = int(message.body)
                    if number < len(mailbox.acknowledged):
                        waited = now - mailbox.acknowledged[number]
                    else:
                        waited = 0.0  # seen before the broker's answer was
                    mailbox.waits.setdefault(number, waited)
            await asyncio.sleep(EVERY_S)

    def marks(self) -> list[int]:
        """How many were sent to each mailbox so far."""
        return [len(mailbox.acknowledged) for mailbox in self.mailboxes]

    async def readable(self, marks: list[int]) -> None:
        """Returns when everything before the marks was seen."""
        await self._deployment.until(
            lambda: all(
                number in mailbox.waits
                for mailbox, mark in zip(self.mailboxes, marks, strict=True)
                for number in range(mark)
            ),
            "everything that was sent is readable", READABLE_S_MAX,
        )  # fmt: skip

    def pause_s(self, partitions: set[int], since: list[int]) -> float | None:
        """The longest wait in these partitions, of messages sent since; None: no partition."""
        waits = [
            wait
            for mailbox in self.mailboxes
            if mailbox.partition in partitions
            for number, wait in mailbox.waits.items()
            if number >= since[mailbox.partition]
        ]
        return max(waits) if waits else None


@dataclass
class Result:
    """Of one event. Seconds of each run; None where it affected no partition."""

    event: str
    affected_s: list[float | None] = field(default_factory=list)
    others_s: list[float | None] = field(default_factory=list)
    back_s: list[float | None] = field(default_factory=list)

    def row(self) -> list[str]:
        """Of the table: the seconds of all runs, ascending."""
        cells = (self.affected_s, self.others_s, self.back_s)
        return [self.event, *(
            ", ".join(f"{one:.1f}" for one in sorted(one for one in cell if one is not None))
            for cell in cells
        )]  # fmt: skip


class Availability:
    """All events, one after the other, on one topic."""

    def __init__(
        self, services: Services, endpoint: FaultyEndpoint, *, runs: int = RUNS, events: str = ""
    ) -> None:
        assert services.kafka is not None, "its broker is killed: give no address of one"
        self.kafka = services.kafka
        self.endpoint = endpoint
        environment = {**services.environment, DYNAMODB_ADDRESS: endpoint.url}
        self.deployment = Deployment(
            environment={
                **deployment_environment(
                    environment, topic="undelivered", table="mailboxes", group="availability"
                ),
                **DEFAULTS,
            },
            directory=Path(tempfile.mkdtemp(dir=services.directory)),
            tool=self.kafka.tool, topic="undelivered", table="mailboxes", group="availability",
        )  # fmt: skip
        self.probe = Probe(self.deployment, services.endpoint)
        self.results: list[Result] = []
        self._runs, self._events, self._static = runs, re.compile(events), False

    async def run(self) -> list[Result]:
        self.deployment.init(partitions=PARTITIONS)
        await self._two_workers()
        killed, terminated = signal.SIGKILL, signal.SIGTERM
        async with self.probe.running():
            await self.probe.readable([1] * PARTITIONS)
            await self._event("nothing happens", self._two_workers)
            await self._event(
                "one worker of two is killed (`kill -9`)", partial(self._ended, killed)
            )
            await self._event(
                "one worker of two is terminated (SIGTERM)", partial(self._ended, terminated)
            )
            await self._event("a worker joins another one", self._two_workers, workers=1)
            await self._event(
                "a worker joins another one while the store throttles one mailbox",
                self._joins_throttled, workers=1,
            )  # fmt: skip
            await self._event("the broker is killed and started again", self._broker)
            await self._event(f"the store is away for {OUTAGE_S:.0f} s", self._outage)
            for how in ("dynamic", "static"):
                if how == "static":  # members of the other kind leave first
                    for worker in self.deployment.workers:
                        worker.stop()
                    self._static = True
                for what, number in (("killed", killed), ("terminated", terminated)):
                    await self._event(
                        f"one of two {how} workers is {what} and started again at once",
                        partial(self._restarted, number),
                    )
        return self.results

    async def _event(
        self, name: str, make: Callable[[], Awaitable[set[int]]], *, workers: int = 2
    ) -> None:
        """workers: that run before it."""
        if not self._events.search(name):
            return
        result = Result(name)
        self.results.append(result)
        for _ in range(self._runs):
            await self._two_workers()
            if workers == 1:
                await self._ended(signal.SIGTERM)
            await asyncio.sleep(CALM_S)
            await self.probe.readable(self.probe.marks())
            since = self.probe.marks()
            self._returned: float | None = None
            affected = await make()
            await self.probe.readable(self.probe.marks())
            back = None if self._returned is None else time.monotonic() - self._returned
            await asyncio.sleep(CALM_S)
            await self.probe.readable(self.probe.marks())
            result.affected_s.append(self.probe.pause_s(affected, since))
            result.others_s.append(self.probe.pause_s(set(range(PARTITIONS)) - affected, since))
            result.back_s.append(back)
            print(" | ".join(result.row()), file=sys.stderr, flush=True)

    async def _two_workers(self) -> set[int]:
        """Two run, and share the partitions. Returns all of these."""
        while len(running := [w for w in self.deployment.workers if w.alive]) < 2:
            joining = self._start()
            await self.deployment.until(lambda: self._owned(joining), "it has partitions")  # noqa: B023
        await self.deployment.until(
            lambda: sum(len(self._owned(w)) for w in running) == PARTITIONS, "they share them"
        )
        return set(range(PARTITIONS))

    def _start(self) -> Any:
        """A worker; a static one takes the id that no other has now."""
        if not self._static:
            return self.deployment.worker()
        taken = {w.env[_INSTANCE_ID] for w in self.deployment.workers if w.alive and w.env}
        return self.deployment.worker(**{_INSTANCE_ID: min({"one", "two"} - taken)})

    def _owned(self, worker: Any) -> set[int]:
        """Its partitions, by what it said last."""
        said = re.findall(r"(assigned|revoked): partitions \[(.*?)\]", worker.output())
        if not said or said[-1][0] == "revoked":
            return set()
        return {int(number) for number in said[-1][1].split(",") if number.strip()}

    # ---- the events: each returns the partitions that it affects

    async def _ended(self, number: int) -> set[int]:
        victim, other = [w for w in self.deployment.workers if w.alive]
        owned = self._owned(victim)
        victim.signal(number)
        await self.deployment.until(
            lambda: len(self._owned(other)) == PARTITIONS, "the other has taken over"
        )
        return owned

    async def _restarted(self, number: int) -> set[int]:
        victim, _ = [w for w in self.deployment.workers if w.alive]
        owned = self._owned(victim)
        victim.signal(number)
        await asyncio.to_thread(victim.wait)
        again = self._start()
        await self.deployment.until(lambda: self._owned(again), "it has partitions")
        await self._two_workers()
        return owned

    async def _joins_throttled(self) -> set[int]:
        """Affected is the partition of the mailbox; no other has to do with it."""
        until_s = time.monotonic() + THROTTLED_S
        self.endpoint.use(_throttle(self.probe.mailboxes[0].user_id))
        await asyncio.sleep(CALM_S)
        await self._two_workers()
        await asyncio.sleep(until_s - time.monotonic())
        self.endpoint.use(calm())
        self._returned = time.monotonic()
        return {0}

    async def _broker(self) -> set[int]:
        await asyncio.to_thread(self.kafka.kill)
        await asyncio.to_thread(self.kafka.start)
        self._returned = time.monotonic()
        before = self.probe.marks()
        await self.deployment.until(
            lambda: all(n > b for n, b in zip(self.probe.marks(), before, strict=True)),
            "the producer goes on",
        )
        return set(range(PARTITIONS))

    async def _outage(self) -> set[int]:
        self.endpoint.outage()
        await asyncio.sleep(OUTAGE_S)
        self.endpoint.restored()
        self._returned = time.monotonic()
        return set(range(PARTITIONS))


def _throttle(user_id: str) -> Plan:
    """Refuses every write to one mailbox, as a table does whose partition is hot."""

    def plan(call: Call) -> Fault | None:
        hot = any(item["user_id"]["S"] == user_id for item in call.puts())
        return Fault.PROVISIONED_THROUGHPUT if hot else None

    return plan


async def measure(services: Services, runs: int, events: str) -> list[Result]:
    """Every event whose name has a match of the pattern, so many times."""
    with FaultyEndpoint(services.endpoint) as endpoint:
        availability = Availability(services, endpoint, runs=runs, events=events)
        try:
            return await availability.run()
        finally:
            availability.deployment.end()


def main() -> int:
    """Exit status: 0 when every event was survived."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=RUNS, help="times each event is made")
    parser.add_argument("--events", default="", help="a pattern of the events' names; all if empty")
    arguments = parser.parse_args()
    try:
        with start_services() as services:
            os.environ.update(services.environment)
            results = asyncio.run(measure(services, arguments.runs, arguments.events))
    except (ServicesMissingError, RuntimeError) as error:
        print(f"make availability: {error}", file=sys.stderr)
        return 1
    print(json.dumps({result.event: vars(result) for result in results}))
    header = ("event", "longest wait in the partitions that it affects, s", "in the others, s",
              "back, s")  # fmt: skip
    print(markdown(header, (result.row() for result in results)))
    return 0


if __name__ == "__main__":
    sys.exit(exit_status("make availability", main))
