"""The clients: devices that come and go, people who write, and a chat server with old news."""

import asyncio
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType
from aiokafka import AIOKafkaProducer

from examples.chat.gateway import PRESENCE_S
from tests.reconnect.ledger import Connection, Device, Ledger, Sent

#: Mean seconds that a device is online and offline, and between two messages of one sender.
ONLINE_S, OFFLINE_S, PAUSE_S = 2.0, 1.5, 0.12
#: Share of the connections that end only after the device was told that it is up to date.
PATIENT_SHARE = 0.6
#: Seconds between two attempts to connect, and between two looks for somebody who is offline.
AGAIN_S = 0.2
#: Seconds that news of a registration takes to the other chat server, and a produce may take.
OLD_NEWS_S = PRESENCE_S / 2


@dataclass
class Phone:
    """One device. present: it is connected, or about to be. address: of its gateway."""

    device: Device
    address: str
    ledger: Ledger
    draws: random.Random
    staying: asyncio.Event
    present: bool = False
    doubles: int = 0
    _seen: set[tuple[str, str]] = field(default_factory=set)

    async def run(self, session: ClientSession) -> None:
        """Come and go; stay once `staying` is set."""
        while True:
            self.present = True
            connection = Connection(time.monotonic())
            try:
                async with session.ws_connect(self.address, params=_query(self.device)) as socket:
                    self.ledger.connections[self.device].append(connection)
                    leaving = asyncio.create_task(self._leave(socket, connection))
                    try:
                        await self._listen(socket, connection)
                    finally:
                        leaving.cancel()
            except (ClientError, ConnectionError):
                await asyncio.sleep(AGAIN_S)
            finally:
                connection.ended_s = time.monotonic()
                self.present = False
            if not self.staying.is_set():
                await self._stayed(self.draws.expovariate(1 / OFFLINE_S))

    async def _leave(self, socket: ClientWebSocketResponse, connection: Connection) -> None:
        online_s = self.draws.expovariate(1 / ONLINE_S)
        if self.draws.random() < PATIENT_SHARE:
            while connection.up_to_date_s is None:  # noqa: ASYNC110 - `_listen` ends it too
                await asyncio.sleep(AGAIN_S)
        if not await self._stayed(online_s):
            await socket.close()

    async def _stayed(self, seconds: float) -> bool:
        try:  # `wait_for` would lose a cancellation of the same moment (Python 3.11)
            async with asyncio.timeout(seconds):
                await self.staying.wait()
        except TimeoutError:
            return False
        return True

    async def _listen(self, socket: ClientWebSocketResponse, connection: Connection) -> None:
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                return
            said = frame.json()
            if said.get("state") == "live":
                connection.up_to_date_s = time.monotonic()
            for event in said.get("events", ()):
                self._show(event)
            if "number" in said:
                await socket.send_json({"confirmed": said["number"]})

    def _show(self, event: dict[str, Any]) -> None:
        key = (event["source"], event["id"])
        if key in self._seen:
            self.doubles += 1
            return
        self._seen.add(key)
        number = int(event["data"])
        self.ledger.show(self.device, self.device.user, event["source"], number, time.monotonic())


@dataclass
class Writer:
    """Somebody who writes to the users of one gateway, one message after the other."""

    name: str
    address: str
    users: tuple[str, ...]
    messages: int
    ledger: Ledger
    draws: random.Random
    _socket: ClientWebSocketResponse | None = None

    async def run(self, session: ClientSession) -> None:
        for sent, id_ in self._outbox():
            while not await self._accepted(session, sent, id_):  # noqa: ASYNC110 - it is sent again
                await asyncio.sleep(AGAIN_S)
            self.ledger.acknowledge(sent, time.monotonic())
            await asyncio.sleep(self.draws.expovariate(1 / PAUSE_S))
        await self._close()

    def _outbox(self) -> list[tuple[Sent, str]]:
        found, numbers = [], Counter[str]()
        for user in self.draws.choices(self.users, k=self.messages):
            found.append((Sent(user, f"/chat/{self.name}", numbers[user]), str(uuid.uuid4())))
            numbers[user] += 1
        return found

    async def _accepted(self, session: ClientSession, sent: Sent, id_: str) -> bool:
        """Whether the gateway has accepted it. False: it is sent again, with the same id."""
        try:
            if self._socket is None:
                self._socket = await session.ws_connect(
                    self.address, params=_query(Device(self.name, "pen"))
                )
            await self._socket.send_json({"id": id_, "to": sent.user, "text": str(sent.number)})
            while True:
                frame = await self._socket.receive()
                if frame.type is not WSMsgType.TEXT:
                    raise ConnectionResetError
                said = frame.json()
                assert "refused" not in said, said
                if said.get("accepted") == id_ or said.get("failed") == id_:
                    return "accepted" in said
        except (ClientError, ConnectionError):
            await self._close()
            return False

    async def _close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
            self._socket = None


def _query(device: Device) -> dict[str, str]:
    return {"user": device.user, "device": device.name}


@dataclass
class OtherServer:
    """Another chat server: it produces for users who were offline a moment ago.

    excused: messages whose acknowledgement came later than `PRESENCE_S` after that moment; the
    contract does not cover them.
    """

    name: str
    phones: dict[str, list[Phone]]
    messages: int
    topic: str
    ledger: Ledger
    draws: random.Random
    excused: int = 0

    async def run(self, producer: AIOKafkaProducer) -> None:
        numbers: Counter[str] = Counter()
        users = sorted(self.phones)
        for _ in range(self.messages):
            while not (offline := [user for user in users if self._is_offline(user)]):  # noqa: ASYNC110 - of people
                await asyncio.sleep(AGAIN_S / 10)
            user = self.draws.choice(offline)
            saw_s = time.monotonic()
            await asyncio.sleep(self.draws.uniform(0, OLD_NEWS_S))
            sent = Sent(user, f"/chat/{self.name}", numbers[user], grace_s=PRESENCE_S)
            await producer.send_and_wait(
                self.topic, key=user.encode(), value=str(sent.number).encode(),
                headers=[
                    ("ce_specversion", b"1.0"), ("ce_id", uuid.uuid4().hex.encode()),
                    ("ce_source", sent.source.encode()), ("ce_type", b"chat.message"),
                ],
            )  # fmt: skip
            numbers[user] += 1
            now_s = time.monotonic()
            if now_s - saw_s < PRESENCE_S:
                self.ledger.acknowledge(sent, now_s)
            else:
                self.excused += 1
            await asyncio.sleep(self.draws.expovariate(1 / PAUSE_S))

    def _is_offline(self, user: str) -> bool:
        return not any(phone.present for phone in self.phones[user])
