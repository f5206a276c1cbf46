"""One storm, from its services to its verdict."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from local import DYNAMODB_ADDRESS, KAFKA_ADDRESS, KafkaService
from poste_restante import Mailboxes
from tests.audit import (
    AuditedProducer,
    AuditedReaders,
    Auditor,
    Journal,
    Verdict,
    mailboxes_at,
)
from tests.deployment import Deployment
from tests.fault_proxy import FaultyEndpoint, calm, has_body
from tests.storm.events import Events
from tests.storm.fault_rates import (
    READERS_FAULTS,
    WORKERS_FAULTS,
    readers_fault_rates,
    workers_fault_rates,
)
from tests.storm.group import begun, take_over
from tests.storm.report import Report, acknowledged, never_met
from tests.storm.script import EventKind, script
from tests.storm.services import storm_deployment
from tests.storm.supervisor import Supervisor
from tests.storm.traffic import POISONOUS, Traffic, users

#: Records a second, of all producers together: two cores are not busy all the time with it.
RECORDS_PER_S = 250
#: Producers, each with a compression of its own, and records of one batch on average.
COMPRESSIONS = ("gzip", "lz4", "zstd", None)
BATCH_RECORDS = 12
#: Partitions are drawn between these.
PARTITIONS = (4, 8)
#: Seconds behind the last event, with the faults as they were, and nothing more produced.
QUIET_S = 5.0
#: Seconds until everything is durable and committed, once all is well: a late rewind of the
#: longest kind is replayed within a minute.
DRAIN_S_MAX = 240.0
#: Seconds that the workers wait for one call, so that a hung store makes several of them.
TIMEOUT_S = 2.0
#: Seconds between two looks of the auditor.
WATCH_S = 1.0
#: Readers at a time, and seconds that each rests between two readings: they are shown what waits
#: within seconds, and leave the processor to the others.
READERS, REST_S = 4, 0.05
#: As a gateway's (`open_mailboxes`).
READERS_TIMEOUT_S, READERS_ATTEMPTS = 2.0, 2
#: Seconds a producer rests after a batch that the broker did not acknowledge.
UNACKNOWLEDGED_S = 1.0


@dataclass(frozen=True)
class Settings:
    """What a storm is asked to be. seconds: of events, at most. kinds: the last event is the one
    behind which each of them has happened; none: the seconds decide alone."""

    seed: int
    seconds: float
    kinds: frozenset[EventKind] = frozenset()


@dataclass(frozen=True)
class Parts:
    """What a storm is made of."""

    settings: Settings
    say: Callable[[str], None]
    deployment: Deployment
    workers_store: FaultyEndpoint
    readers_store: FaultyEndpoint
    journal: Journal
    supervisor: Supervisor
    auditor: Auditor
    events: Events


async def storm(
    settings: Settings,
    directory: Path,
    say: Callable[[str], None],
    services: tuple[KafkaService, str],
) -> Report:
    """Run it. directory: for the workers' logs. services: of its own, see `own_services`.

    Raises what fails in the harness; what the product does wrong is in the report.
    """
    async with AsyncExitStack() as stack:
        parts = await _made(settings, directory, say, services, stack)
        began_s = time.monotonic()
        async with (
            _readers(parts), parts.auditor.watching(every_s=WATCH_S),
            _meanwhile(parts.supervisor.run()),
        ):  # fmt: skip
            async with _producing(parts):
                await _play(parts)
            say("quiet")
            await asyncio.sleep(QUIET_S)
            seconds = time.monotonic() - began_s
            say("drain")
            drained = await _drain(parts)
        say("verdict")
        verdict = await parts.auditor.verdict()
        return _report(parts, seconds, verdict, drained=drained)


async def _made(
    settings: Settings,
    directory: Path,
    say: Callable[[str], None],
    services: tuple[KafkaService, str],
    stack: AsyncExitStack,
) -> Parts:
    seed = settings.seed
    draws = random.Random(f"storm {seed}")
    kafka, upstream = services
    workers_store = stack.enter_context(FaultyEndpoint(upstream, seed=seed))
    readers_store = stack.enter_context(FaultyEndpoint(upstream, seed=seed + 1))
    deployment = storm_deployment(directory, kafka, upstream)
    partitions = draws.randint(*PARTITIONS)
    # A process: the store's address is in the deployment's environment, and not in ours.
    init = "init", "--partitions", str(partitions), "--replication-factor", "1"
    await asyncio.to_thread(deployment.poste, *init)
    origins = await asyncio.to_thread(take_over, deployment, draws, partitions)
    say(f"{partitions} partitions; what is left of the storm is in {directory}")
    workers_store.poison(has_body(POISONOUS))
    workers_store.use(workers_fault_rates(seed))
    readers_store.use(readers_fault_rates(seed))
    supervisor = Supervisor(
        {
            **deployment.environment, DYNAMODB_ADDRESS: workers_store.url,
            "POSTE_DYNAMODB__TIMEOUT_S": str(TIMEOUT_S), "POSTE_KAFKA__START": "group",
        },
        directory, draws, say,
    )  # fmt: skip
    stack.callback(supervisor.end)
    journal = Journal()
    auditor = Auditor(journal, deployment.environment, origins=origins)
    events = Events(
        deployment, kafka, workers_store, readers_store, supervisor, seed,
        partitions, lambda: len(journal.produced), say,
    )  # fmt: skip
    return Parts(
        settings, say, deployment, workers_store, readers_store, journal, supervisor, auditor,
        events,
    )  # fmt: skip


async def _play(parts: Parts) -> None:
    """The events, until the storm has met what it is asked to meet, or is over."""
    for _ in range(2):
        parts.supervisor.join()
    # A group that is moved before its partitions have begun would move their beginnings.
    await begun(parts.deployment, parts.events.partitions)
    settings, events = parts.settings, parts.events
    end_s = time.monotonic() + settings.seconds
    for event in script(settings.seed):
        if settings.kinds and settings.kinds <= events.begun:
            await events.end()
            if settings.kinds <= events.done.keys():
                return
        if time.monotonic() + event.after_s > end_s:
            break
        await asyncio.sleep(event.after_s)
        await events.begin(event)
    await asyncio.sleep(max(0.0, end_s - time.monotonic()))
    await events.end()


async def _drain(parts: Parts) -> bool:
    """All is well, everybody is new: whether everything becomes durable and committed."""
    parts.workers_store.use(calm())
    parts.readers_store.use(calm())
    supervisor = parts.supervisor
    supervisor.calm = True
    for slot in supervisor.slots:
        supervisor.terminate(slot)
    if not supervisor.wanted():
        supervisor.join()
    try:
        await parts.auditor.drained(DRAIN_S_MAX)
    except AssertionError as error:
        parts.say(str(error))
        return False
    finally:
        await supervisor.leave()
    return True


def _readers(parts: Parts) -> AuditedReaders:
    """Over all mailboxes, through their own endpoint, all the time. Every other one deletes what it
    has acknowledged."""
    deletes = cycle((False, True))

    def opened() -> AbstractAsyncContextManager[Mailboxes]:
        return mailboxes_at(
            parts.readers_store.url, parts.deployment.table,
            timeout_s=READERS_TIMEOUT_S, attempts=READERS_ATTEMPTS,
            delete_acknowledged=next(deletes),
        )  # fmt: skip

    return AuditedReaders(
        parts.journal,
        opened,
        users(),
        seed=parts.settings.seed,
        readers=READERS,
        rest_s=REST_S,
    )


@asynccontextmanager
async def _producing(parts: Parts) -> AsyncIterator[None]:
    """Producers at work while the block runs. They are asked to end, not cancelled: wait_for may
    swallow that (cpython #86296), and a producer would go on for ever."""
    ending = asyncio.Event()
    async with asyncio.TaskGroup() as producers:
        for compression in COMPRESSIONS:
            producers.create_task(_produce(parts, compression, ending))
        try:
            yield
        finally:
            ending.set()


async def _produce(parts: Parts, compression: str | None, ending: asyncio.Event) -> None:
    """Until it is told to end. A broker that is away is a pause; nothing is made up for."""
    batches = Traffic(parts.settings.seed, str(compression)).batches(BATCH_RECORDS)
    pause_s = BATCH_RECORDS * len(COMPRESSIONS) / RECORDS_PER_S
    bootstrap = parts.deployment.environment[KAFKA_ADDRESS]
    async with AuditedProducer(
        parts.journal, bootstrap, parts.deployment.topic, compression_type=compression
    ) as producer:
        for batch in batches:
            if ending.is_set():
                return
            sent = await producer.produce(*batch)
            away = any(record.place is None for record in sent)
            await asyncio.sleep(UNACKNOWLEDGED_S if away else pause_s)


def _report(parts: Parts, seconds: float, verdict: Verdict, *, drained: bool) -> Report:
    faults = {
        "workers": parts.workers_store.by_fault(),
        "readers": parts.readers_store.by_fault(),
    }  # fmt: skip
    wanted = {"workers": WORKERS_FAULTS, "readers": READERS_FAULTS}
    events, supervisor = parts.events.done, parts.supervisor
    return Report(
        seed=parts.settings.seed, seconds=seconds, verdict=verdict,
        records=verdict.records - sum(parts.auditor.origins.values()),
        acknowledged=acknowledged(parts.journal),
        events=events, faults=faults, restarts=supervisor.restarts, exits=supervisor.left,
        overstayed=len(supervisor.overstayed), drained=drained,
        not_met=never_met(events, faults, wanted),
    )  # fmt: skip


@asynccontextmanager
async def _meanwhile(*jobs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run jobs while the block runs. One that fails fails the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(job) for job in jobs]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
