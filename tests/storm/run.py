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

from poste_restante import Mailboxes
from tests.audit import (
    AuditedProducer,
    AuditedReaders,
    Auditor,
    Journal,
    Verdict,
    mailboxes_at,
)
from tests.endpoint import FaultyEndpoint, calm
from tests.scene import Scene
from tests.services import DYNAMODB_ADDRESS, KAFKA_ADDRESS, KafkaService
from tests.storm.events import Events
from tests.storm.ground import storm_scene
from tests.storm.group import begun, take_over
from tests.storm.report import Report, acknowledged, never_met
from tests.storm.script import script
from tests.storm.supervisor import Supervisor
from tests.storm.traffic import Traffic, users
from tests.storm.weather import (
    READERS_FAULTS,
    WORKERS_FAULTS,
    poisonous,
    readers_weather,
    workers_weather,
)

#: Records a second, of all producers together: two cores are not busy all the time with it.
RECORDS_PER_S = 250
#: Producers, each with a compression of its own, and records of one batch on average.
COMPRESSIONS = ("gzip", "lz4", "zstd", None)
BATCH_RECORDS = 12
#: Partitions are drawn between these.
PARTITIONS = (4, 8)
#: Seconds behind the last event, with the weather as it was, and nothing more produced.
QUIET_S = 5.0
#: Seconds until everything is durable and committed, once all is well: a late rewind of the
#: longest kind is replayed within a minute.
DRAIN_S_MAX = 240.0
#: Seconds of the workers' patience with one call, so that a hung store makes several of them.
TIMEOUT_S = 2.0
#: Seconds between two looks of the auditor.
WATCH_S = 1.0
#: Readers at a time, and seconds that each rests between two readings: they are shown what waits
#: within seconds, and leave the processor to the others.
READERS, REST_S = 4, 0.05
#: A gateway's patience (`open_mailboxes`).
READERS_TIMEOUT_S, READERS_ATTEMPTS = 2.0, 2
#: Seconds a producer rests after a batch that the broker did not acknowledge.
UNACKNOWLEDGED_S = 1.0


@dataclass(frozen=True)
class Settings:
    """What a storm is asked to be."""

    seed: int
    seconds: float


@dataclass(frozen=True)
class Stage:
    """Everything that a storm plays with."""

    settings: Settings
    say: Callable[[str], None]
    scene: Scene
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
    """Run it. directory: for the workers' logs. services: of its own, see `ground`.

    Raises what fails in the harness; what the product does wrong is in the report.
    """
    async with AsyncExitStack() as stack:
        stage = await _stage(settings, directory, say, services, stack)
        began_s = time.monotonic()
        async with (
            _readers(stage), stage.auditor.watching(every_s=WATCH_S),
            _meanwhile(stage.supervisor.run()),
        ):  # fmt: skip
            async with _producing(stage):
                await _play(stage)
            say("quiet")
            await asyncio.sleep(QUIET_S)
            seconds = time.monotonic() - began_s
            say("drain")
            drained = await _drain(stage)
        say("verdict")
        verdict = await stage.auditor.verdict()
        return _report(stage, seconds, verdict, drained=drained)


async def _stage(
    settings: Settings,
    directory: Path,
    say: Callable[[str], None],
    services: tuple[KafkaService, str],
    stack: AsyncExitStack,
) -> Stage:
    seed = settings.seed
    draws = random.Random(f"storm {seed}")
    kafka, upstream = services
    workers_store = stack.enter_context(FaultyEndpoint(upstream, seed=seed))
    readers_store = stack.enter_context(FaultyEndpoint(upstream, seed=seed + 1))
    scene = storm_scene(directory, kafka, upstream)
    partitions = draws.randint(*PARTITIONS)
    await asyncio.to_thread(scene.init, partitions)
    origins = await asyncio.to_thread(take_over, scene, draws, partitions)
    say(f"{partitions} partitions; what is left of the storm is in {directory}")
    workers_store.poison(poisonous)
    workers_store.use(workers_weather(seed))
    readers_store.use(readers_weather(seed))
    supervisor = Supervisor(
        {
            **scene.environment, DYNAMODB_ADDRESS: workers_store.url,
            "POSTE_DYNAMODB__TIMEOUT_S": str(TIMEOUT_S), "POSTE_KAFKA__START": "group",
        },
        directory, draws, say,
    )  # fmt: skip
    stack.callback(supervisor.end)
    journal = Journal()
    auditor = Auditor(
        journal,
        scene.environment,
        topic=scene.topic,
        table=scene.table,
        group=scene.group,
        origins=origins,
    )
    events = Events(
        scene, kafka, workers_store, readers_store, supervisor, seed,
        partitions, lambda: len(journal.produced), say,
    )  # fmt: skip
    return Stage(
        settings, say, scene, workers_store, readers_store, journal, supervisor, auditor, events
    )


async def _play(stage: Stage) -> None:
    """The events, for as long as the storm lasts."""
    for _ in range(2):
        stage.supervisor.join()
    # A group that is moved before its partitions have begun would move their beginnings.
    await begun(stage.scene, stage.events.partitions)
    end_s = time.monotonic() + stage.settings.seconds
    for event in script(stage.settings.seed):
        if time.monotonic() + event.after_s > end_s:
            break
        await asyncio.sleep(event.after_s)
        await stage.events.begin(event)
    await asyncio.sleep(max(0.0, end_s - time.monotonic()))
    await stage.events.end()


async def _drain(stage: Stage) -> bool:
    """All is well, everybody is new: whether everything becomes durable and committed."""
    stage.workers_store.use(calm())
    stage.readers_store.use(calm())
    supervisor = stage.supervisor
    supervisor.calm = True
    for slot in supervisor.slots:
        supervisor.terminate(slot)
    if not supervisor.wanted():
        supervisor.join()
    try:
        await stage.auditor.drained(DRAIN_S_MAX)
    except AssertionError as error:
        stage.say(str(error))
        return False
    finally:
        await supervisor.leave()
    return True


def _readers(stage: Stage) -> AuditedReaders:
    """Over all mailboxes, through their own endpoint, all the time. Every other one deletes what it
    has acknowledged."""
    deletes = cycle((False, True))

    def opened() -> AbstractAsyncContextManager[Mailboxes]:
        return mailboxes_at(
            stage.readers_store.url, stage.scene.table,
            timeout_s=READERS_TIMEOUT_S, attempts=READERS_ATTEMPTS,
            delete_acknowledged=next(deletes),
        )  # fmt: skip

    return AuditedReaders(
        stage.journal, opened, users(), seed=stage.settings.seed, readers=READERS, rest_s=REST_S
    )


@asynccontextmanager
async def _producing(stage: Stage) -> AsyncIterator[None]:
    """Producers at work while the block runs. They are asked to end, not cancelled: wait_for may
    swallow that (cpython #86296), and a producer would go on for ever."""
    ending = asyncio.Event()
    async with asyncio.TaskGroup() as producers:
        for compression in COMPRESSIONS:
            producers.create_task(_produce(stage, compression, ending))
        try:
            yield
        finally:
            ending.set()


async def _produce(stage: Stage, compression: str | None, ending: asyncio.Event) -> None:
    """Until it is told to end. A broker that is away is a pause; nothing is made up for."""
    batches = Traffic(stage.settings.seed, str(compression)).batches(BATCH_RECORDS)
    pause_s = BATCH_RECORDS * len(COMPRESSIONS) / RECORDS_PER_S
    bootstrap = stage.scene.environment[KAFKA_ADDRESS]
    async with AuditedProducer(
        stage.journal, bootstrap, stage.scene.topic, compression_type=compression
    ) as producer:
        for batch in batches:
            if ending.is_set():
                return
            sent = await producer.produce(*batch)
            away = any(record.place is None for record in sent)
            await asyncio.sleep(UNACKNOWLEDGED_S if away else pause_s)


def _report(stage: Stage, seconds: float, verdict: Verdict, *, drained: bool) -> Report:
    faults = {
        "workers": stage.workers_store.by_fault(), "readers": stage.readers_store.by_fault(),
    }  # fmt: skip
    wanted = {"workers": WORKERS_FAULTS, "readers": READERS_FAULTS}
    events, supervisor = stage.events.done, stage.supervisor
    return Report(
        seed=stage.settings.seed, seconds=seconds, verdict=verdict,
        records=verdict.records - sum(stage.auditor.origins.values()),
        acknowledged=acknowledged(stage.journal),
        events=events, faults=faults, restarts=supervisor.restarts, exits=supervisor.left,
        overstayed=len(supervisor.overstayed), drained=drained,
        missing=never_met(events, faults, wanted),
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
