"""The group: where it begins, and its rewinds, by Kafka's own tool and by `poste rewind`."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from confluent_kafka import Producer

from local import DYNAMODB_ADDRESS, KAFKA_ADDRESS
from tests.audit.keys import WINDOW_SIZE
from tests.audit.observer import AWAY, GroupOffsets, raw_table
from tests.deployment import Deployment
from tests.storm.script import EventKind

#: Seconds until a group has no members: a killed worker's session, and a broker that is busy.
EMPTY_S_MAX = 60.0
#: Attempts of one rewind: the broker or the store may be away for a while; it is an operator who
#: tries again.
ATTEMPTS_MAX = 10
_LOOK_S = 0.3
#: Seconds until the first workers have opened every partition, on a busy machine.
BEGUN_S_MAX = 120.0
#: How far below the first border the workers begin, and seconds until what is below is there.
BELOW_BORDER, FILLED_S_MAX = (50, 1_000), 60.0
#: Offsets back at most, in one partition: a replay must come to an end before the next one.
BACK_MAX = 12_000
#: Records of the topic up to which a rewind goes to its start: above, a storm would be one replay.
EARLIEST_RECORDS_MAX = 150_000


async def members(deployment: Deployment) -> int:
    """How many the broker counts. Raises KafkaError while it is away."""
    admin = AIOKafkaAdminClient(
        bootstrap_servers=deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"]
    )
    try:
        await admin.start()
        (answer,) = await admin.describe_consumer_groups([deployment.group])
        (group,) = answer.to_object()["groups"]
        return len(group["members"])
    finally:
        await admin.close()


async def until_empty(deployment: Deployment) -> None:
    """Wait until nobody is in the group, in the broker's eyes. Raises TimeoutError."""
    deadline = time.monotonic() + EMPTY_S_MAX
    while True:
        try:
            async with asyncio.timeout(EMPTY_S_MAX):
                if await members(deployment) == 0:
                    return
        except (KafkaError, OSError):
            pass  # away: asked again
        if time.monotonic() > deadline:
            raise TimeoutError(f"the group has members after {EMPTY_S_MAX:.0f} s")
        await asyncio.sleep(_LOOK_S)


async def rewind(
    deployment: Deployment, kind: EventKind, draws: random.Random, *, partitions: int, records: int
) -> str:
    """Make it; says what was done. records: of the topic, so far.

    A target is below progress, so below what is durable: a group moved forward would look to
    the auditor like one that was committed past it.
    """
    nexts = await _patiently(lambda: _nexts(deployment, partitions))
    committed = await _patiently(lambda: _committed(deployment, partitions))
    partition = draws.choice([*nexts])
    back = draws.randint(1, draws.choice((1_000, BACK_MAX)))
    to = max(0, nexts[partition] - back)
    if kind is EventKind.POSTE_REWIND:
        how = ["rewind", "--partition", str(partition), "--to", str(to), "--yes"]
        await _patiently(lambda: asyncio.to_thread(_poste, deployment, how))
        return " ".join(["poste", *how])
    if kind is EventKind.REWIND_TO_OFFSET:
        how = ["--topic", f"{deployment.topic}:{partition}", "--to-offset", str(to)]
    elif committed and (kind is EventKind.REWIND_SHIFT_BY or records > EARLIEST_RECORDS_MAX):
        # The tool refuses to shift what it does not find.
        shifted = f"{deployment.topic}:{','.join(map(str, committed))}"
        how = ["--topic", shifted, "--shift-by", str(-back)]
    else:
        how = ["--topic", deployment.topic, "--to-earliest"]
    await _patiently(lambda: asyncio.to_thread(_reset, deployment, how))
    return " ".join(how)


def take_over(deployment: Deployment, draws: random.Random, partitions: int) -> dict[int, int]:
    """A consumer was there before us: the group stands just below the first window's border, in
    every partition, and workers begin there (`kafka.start` is "group"). A storm of a minute then
    crosses borders. The origin of each partition, below which no message is ours.
    """
    origins = {p: WINDOW_SIZE - draws.randint(*BELOW_BORDER) for p in range(partitions)}
    producer = Producer(
        {"bootstrap.servers": deployment.environment[KAFKA_ADDRESS], "linger.ms": 50}
    )
    for partition, count in origins.items():
        for _ in range(count):
            producer.produce(deployment.topic, b"", key=b"before", partition=partition)
            producer.poll(0)
    left = producer.flush(FILLED_S_MAX)
    assert left == 0, f"{left} records were not acknowledged in {FILLED_S_MAX:.0f} s"
    _reset(deployment, ["--topic", deployment.topic, "--to-latest"])
    return origins


async def begun(deployment: Deployment, partitions: int) -> None:
    """Returns when every partition has progress. Raises TimeoutError."""
    async with asyncio.timeout(BEGUN_S_MAX):
        while min((await _nexts(deployment, partitions)).values()) == 0:  # noqa: ASYNC110 - the store's
            await asyncio.sleep(_LOOK_S)


async def _nexts(deployment: Deployment, partitions: int) -> dict[int, int]:
    """Progress of each partition, straight from the store; 0 where there is none."""
    async with raw_table(deployment.environment[DYNAMODB_ADDRESS], deployment.table) as table:
        found = await table.progress(deployment.topic, range(partitions))
    return {p: found[p].next if p in found else 0 for p in range(partitions)}


async def _committed(deployment: Deployment, partitions: int) -> list[int]:
    """The partitions of which the group has an offset."""
    offsets = GroupOffsets(
        deployment.environment[KAFKA_ADDRESS], deployment.group, deployment.topic
    )
    try:
        return sorted(await offsets.committed(range(partitions)))
    finally:
        await offsets.stop()


def _reset(deployment: Deployment, how: list[str]) -> None:
    """Raises RuntimeError where the tool did not move the group: it says so, with status 0."""
    said = deployment.kafka_tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "--group", deployment.group, "--reset-offsets", *how, "--execute",
    )  # fmt: skip
    if "NEW-OFFSET" not in said or "Error" in said:
        raise RuntimeError(f"the group was not moved: {said[-500:]}")


def _poste(deployment: Deployment, arguments: list[str]) -> None:
    done = deployment.poste(*arguments, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"poste {arguments}: {done.stderr[-500:]}")


async def _patiently(attempt: Callable[[], Awaitable[Any]]) -> Any:
    """The result of the first attempt that succeeds. Raises what the last one raised."""
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return await attempt()
        except (AssertionError, RuntimeError, *AWAY):
            await asyncio.sleep(1.0)
    return await attempt()
