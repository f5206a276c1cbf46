"""One run: services, workers, both pairs of gateways, the people, and the kills."""

import asyncio
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector
from aiokafka import AIOKafkaProducer

from local.child import Child
from local.ready import free_ports
from tests.deployment import Deployment
from tests.preloaded import PreloadedChild
from tests.reconnect.ledger import LATE_S_MAX, Device, Figures, Ledger
from tests.reconnect.people import OtherServer, Phone, Writer

#: The gateways that are compared: what runs, and how the table calls it.
PROVEN, NAIVE = "catch_up", "one fetch"
MODULES = {PROVEN: "examples.chat", NAIVE: "tests.reconnect.naive_gateway"}
GATEWAYS, WORKERS, PARTITIONS = 2, 2, 8
DEVICES = ("phone", "laptop")
#: Writers to each gateway; one other chat server to each kind sends this share of the messages.
WRITERS, OTHER_SHARE = 3, 0.2
#: Seconds between a kill and the next start; until gateways listen; until all is acknowledged, for
#: each message and in all.
DOWN_S, UP_S_MAX = 0.5, 60.0
MESSAGE_S_MAX, QUIET_S_MAX = 1.0, 120.0
#: Seconds for the clients to close their connections.
CLOSE_S_MAX = 30.0
#: Lines that say what is missing.
_LINES_MAX = 20
#: Seconds between two looks.
_LOOK_S = 0.1


@dataclass(frozen=True)
class Settings:
    """messages: to the users of each kind of gateway. kills: of a worker and of a gateway of each
    kind by turns, spread over the messages."""

    seed: int
    users: int = 40
    messages: int = 1200
    kills: int = 8


@dataclass(frozen=True)
class Result:
    """excused: messages of other servers outside of their contract. doubles: that clients dropped.
    killed: processes."""

    figures: Mapping[str, Figures]
    doubles: Mapping[str, int]
    excused: int
    killed: int

    @property
    def ok(self) -> bool:
        """The proven gateway is clean, and the naive one shows that there was something to miss."""
        return self.figures[PROVEN].clean and self.figures[NAIVE].missing > 0

    def table(self) -> str:
        """The figures of both, as people read them."""
        proven, naive = self.figures[PROVEN], self.figures[NAIVE]
        rows = [
            ("connections", proven.connections, naive.connections),
            ("messages x devices", proven.expected, naive.expected),
            ("told up to date, and some were missing", proven.missing, naive.missing),
            ("never shown", proven.never, naive.never),
            ("out of order", proven.reordered, naive.reordered),
            (f"shown after more than {LATE_S_MAX:.0f} s online", proven.late, naive.late),
            ("longest wait online, s", proven.worst_s, naive.worst_s),
            ("until told up to date, median s", proven.proof_median_s, naive.proof_median_s),
            ("until told up to date, longest s", proven.proof_max_s, naive.proof_max_s),
            ("doubles that clients dropped", self.doubles[PROVEN], self.doubles[NAIVE]),
        ]
        lines = [f"{'':42}{PROVEN:>12}{NAIVE:>12}"]
        for name, *values in rows:
            cells = (f"{v:12.1f}" if isinstance(v, float) else f"{v:12,}" for v in values)
            lines.append(f"{name:42}{''.join(cells)}")
        return "\n".join(lines)


class World:
    """One kind of gateway: its processes, and who uses it."""

    def __init__(self, kind: str, settings: Settings, deployment: Deployment) -> None:
        self.kind, self.deployment = kind, deployment
        self.draws = random.Random(f"{settings.seed} {kind}")
        self.staying = asyncio.Event()
        initial = kind[0]
        users = [f"{initial}{n}" for n in range(settings.users)]
        self.ledger = Ledger(tuple(Device(user, name) for user in users for name in DEVICES))
        self.ports = free_ports(GATEWAYS)
        self.gateways = [self._gateway(n) for n in range(GATEWAYS)]
        homes = {user: n % GATEWAYS for n, user in enumerate(users)}
        self.phones = [
            Phone(
                device, self._socket(homes[device.user]), self.ledger, self._draws(), self.staying
            )
            for device in self.ledger.devices
        ]
        others = round(settings.messages * OTHER_SHARE)
        each = (settings.messages - others) // (GATEWAYS * WRITERS)
        self.writers = [
            Writer(
                f"writer-{initial}{n}-{home}", self._socket(home),
                tuple(user for user in users if homes[user] == home),
                each, self.ledger, self._draws(),
            )
            for home in range(GATEWAYS) for n in range(WRITERS)
        ]  # fmt: skip
        self.other = OtherServer(
            f"other-{initial}",
            {user: [p for p in self.phones if p.device.user == user] for user in users},
            others, deployment.topic, self.ledger, self._draws(),
        )  # fmt: skip

    def _draws(self) -> random.Random:
        return random.Random(self.draws.random())

    def _socket(self, number: int) -> str:
        return f"http://127.0.0.1:{self.ports[number]}/socket"

    def _gateway(self, number: int) -> Child:
        name = f"{self.kind.replace(' ', '-')}-{number}"
        return PreloadedChild(
            [sys.executable, "-m", MODULES[self.kind], "--port", str(self.ports[number]),
             "--push-group", f"push-{self.deployment.group}"],
            log=self.deployment.directory / f"gateway-{name}.log", env=self.deployment.environment,
        )  # fmt: skip

    async def up(self) -> None:
        for gateway in self.gateways:
            gateway.start()
        for gateway in self.gateways:
            await self.deployment.until(partial(_listens, gateway), "it listens", UP_S_MAX)

    async def write(self, session: ClientSession, producer: AIOKafkaProducer) -> None:
        """Until everything is acknowledged."""
        async with asyncio.TaskGroup() as tasks:
            for writer in self.writers:
                tasks.create_task(writer.run(session))
            tasks.create_task(self.other.run(producer))


def _listens(gateway: Child) -> bool:
    return "chat: http" in gateway.output()


async def reconnect(
    settings: Settings, deployment: Deployment, say: Callable[[str], None]
) -> Result:
    """Play it to its end. Raises TimeoutError where the messages are not acknowledged in time."""
    deployment.init(PARTITIONS)
    worlds = [World(kind, settings, deployment) for kind in (PROVEN, NAIVE)]
    workers = [deployment.worker() for _ in range(WORKERS)]
    try:
        for world in worlds:
            await world.up()
        return await _play(settings, deployment, worlds, workers, say)
    finally:
        deployment.end()
        for world in worlds:
            for gateway in world.gateways:
                gateway.kill()


async def _play(
    settings: Settings, deployment: Deployment, worlds: list[World], workers: list[Child],
    say: Callable[[str], None],
) -> Result:  # fmt: skip
    bootstrap = deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"]
    proven = worlds[0].ledger
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer,
        ClientSession(
            timeout=ClientTimeout(total=None, sock_connect=5), connector=TCPConnector(limit=0)
        ) as session,
    ):
        killing = asyncio.create_task(_kill(settings, worlds, workers, say))
        phones = [
            asyncio.create_task(phone.run(session)) for world in worlds for phone in world.phones
        ]
        try:
            async with asyncio.timeout(QUIET_S_MAX + MESSAGE_S_MAX * settings.messages):
                await asyncio.gather(*(world.write(session, producer) for world in worlds))
                killed = await killing
            say(f"all is acknowledged; everybody stays, for {LATE_S_MAX:.0f} s at most")
            for world in worlds:
                world.staying.set()
            deadline = time.monotonic() + LATE_S_MAX
            while proven.missing_now() and time.monotonic() < deadline:  # noqa: ASYNC110 - of processes
                await asyncio.sleep(_LOOK_S)
            now_s = time.monotonic()
            for line in proven.describe_missing()[:_LINES_MAX]:
                say(line)
        finally:
            await _end([*phones, killing])
    return Result(
        figures={world.kind: world.ledger.figures(now_s) for world in worlds},
        doubles={world.kind: sum(p.doubles for p in world.phones) for world in worlds},
        excused=sum(world.other.excused for world in worlds),
        killed=killed,
    )


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel them, and raise what one of them has raised before."""
    for task in tasks:
        task.cancel()
    ended, open_ = await asyncio.wait(tasks, timeout=CLOSE_S_MAX)
    for task in ended:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    if open_:
        raise TimeoutError(f"{len(open_)} clients do not end within {CLOSE_S_MAX:.0f} s: {open_}")


async def _kill(
    settings: Settings, worlds: list[World], workers: list[Child], say: Callable[[str], None]
) -> int:
    """`kill -9` at counts of acknowledged messages, workers and gateways by turns; how many."""
    killed = 0
    for n in range(settings.kills):
        count = settings.messages * (n + 1) // (settings.kills + 2)
        while len(worlds[0].ledger.acknowledged) < count:  # noqa: ASYNC110 - of processes
            await asyncio.sleep(_LOOK_S)
        victims = (
            [workers[n // 2 % WORKERS]] if n % 2 == 0
            else [world.gateways[n // 2 % GATEWAYS] for world in worlds]
        )  # fmt: skip
        say(f"{count} acknowledged: kill -9 {', '.join(v.log.stem for v in victims)}")
        for victim in victims:
            assert victim.alive, victim.tail()
            victim.kill()
            killed += 1
        await asyncio.sleep(DOWN_S)
        for victim in victims:
            victim.start()
    return killed
