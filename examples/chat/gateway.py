"""A chat gateway: live to devices that are online, through Kafka and the mailbox to the others.

Four rules make a reconnect whole, in order, and without doubles on the screen:

1. A device registers first. From then on what is sent to its user queues for it.
2. `catch_up` shows what waits in the mailbox until that is proven complete as of the registration
   and `PRESENCE_S` more. Then comes the queue.
3. A message that some device has not confirmed goes to Kafka. Once Kafka has it the gateway looks
   again: a device that registered in the meantime gets it through its queue as well.
4. A client keeps a message in its outbox until it is accepted: confirmed by every device, or in
   Kafka. It sends one at a time, shows each `source` and `id` once, and confirms what it stored.

There is no authentication: a client is who it says. One process knows who is online. Where several
do, route by user, or share presence and set `PRESENCE_S` to the delay of that.
"""

import asyncio
import logging
import re
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import WSMsgType, web
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from poste_restante import MailboxError, Mailboxes

#: Seconds after a registration within which the last producer elsewhere knows of it.
PRESENCE_S = 0.5
#: Seconds for a client to confirm; of one `catch_up`; before the next, where that proved nothing.
CONFIRM_S, CATCH_UP_S, AGAIN_S = 5.0, 10.0, 0.5
#: Messages of a page, and in the queue of a device; characters of a message.
PAGE_MAX, QUEUE_MAX, TEXT_MAX = 50, 1000, 2000
#: Close codes: the same device has connected again; connect again later.
REPLACED, LATER = 4000, 1013
NAME = re.compile(r"[A-Za-z0-9._-]{1,36}")

log = logging.getLogger("chat")
Event = dict[str, Any]  # a CloudEvent in JSON


class Connection:
    """A device that is online. live: it has caught up. sending: its message that is on the way."""

    def __init__(self, user: str, device: str, socket: web.WebSocketResponse) -> None:
        self.user, self.device, self.socket = user, device, socket
        self.registered, self.live = datetime.now(UTC), False
        self.queue: list[tuple[Event, asyncio.Future[bool]]] = []
        self.queued = asyncio.Event()
        self.number, self.confirmation = 0, asyncio.Future[None]()
        self.ended, self.code = asyncio.Event(), LATER
        self.sending: asyncio.Task[None] | None = None

    def put(self, event: Event) -> asyncio.Future[bool]:
        """Queue a message. The result tells whether the device has stored it."""
        stored = asyncio.Future[bool]()
        self.queue.append((event, stored))
        self.queued.set()
        if len(self.queue) > QUEUE_MAX:
            self.end(LATER)  # a gap in the queue would be one on the screen
        return stored

    async def show(self, events: list[Event]) -> None:
        """Return when the client has stored them. Raises TimeoutError or ConnectionError."""
        self.number, self.confirmation = self.number + 1, asyncio.Future()
        async with asyncio.timeout(CONFIRM_S):
            await self.socket.send_json({"number": self.number, "events": events})
            await self.confirmation

    def confirm(self, number: object) -> None:
        if number == self.number and not self.confirmation.done():
            self.confirmation.set_result(None)

    def end(self, code: int) -> None:
        """Let `Gateway.connect` close it."""
        self.code = code
        self.ended.set()


class Gateway:
    """Who is online, and what becomes of a message."""

    def __init__(self, mailboxes: Mailboxes, producer: AIOKafkaProducer, topic: str) -> None:
        self.mailboxes, self.producer, self.topic = mailboxes, producer, topic
        self.online: dict[str, dict[str, Connection]] = {}
        self.sending: set[asyncio.Task[None]] = set()
        self.ways: Counter[str] = Counter()

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        """One device, from its registration to its end."""
        user, device = (request.query.get(name, "") for name in ("user", "device"))
        if not NAME.fullmatch(user) or not NAME.fullmatch(device):
            raise web.HTTPBadRequest(text=f"user and device must match {NAME.pattern}\n")
        if request.headers.get("Origin", f"http://{request.host}") != f"http://{request.host}":
            raise web.HTTPForbidden(text="this page is of another origin\n")
        socket = web.WebSocketResponse(heartbeat=CONFIRM_S, max_msg_size=16_384)
        await socket.prepare(request)
        try:
            await self.mailboxes.add_device(user, device)  # from now on mail is kept for it
        except MailboxError as error:
            log.warning("%s/%s cannot connect: %s", user, device, error)
            await socket.close(code=LATER)
            return socket
        connection = Connection(user, device, socket)
        if before := self.online.setdefault(user, {}).get(device):
            before.end(REPLACED)
        self.online[user][device] = connection  # registered
        jobs = (self.deliver(connection), self.listen(connection), connection.ended.wait())
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for why in filter(None, (task.exception() for task in done)):
                log.info("%s/%s is gone: %r", user, device, why)
        finally:
            self.leave(connection)
            for task in tasks:
                task.cancel()
        await asyncio.wait(tasks)
        await socket.close(code=connection.code)
        return socket

    async def close(self) -> None:
        """End all connections, and bring to its end what is being sent."""
        for connection in [c for devices in self.online.values() for c in devices.values()]:
            connection.end(LATER)
        while self.sending:
            await asyncio.wait(self.sending)

    def leave(self, connection: Connection) -> None:
        """The device is offline; what it has not stored goes another way."""
        if self.online[connection.user].get(connection.device) is connection:
            del self.online[connection.user][connection.device]
        for _, stored in connection.queue:
            stored.set_result(False)

    async def listen(self, connection: Connection) -> None:
        """Hear a client until it is gone. Raises ValueError where it says what makes no sense."""
        async for frame in connection.socket:
            said = frame.json() if frame.type is WSMsgType.TEXT else None
            if isinstance(said, dict) and "confirmed" in said:
                connection.confirm(said["confirmed"])
            elif isinstance(said, dict) and (not connection.sending or connection.sending.done()):
                connection.sending = asyncio.create_task(self.accept(connection, said))
                self.sending.add(connection.sending)  # it goes on when its sender has gone
                connection.sending.add_done_callback(self.sending.discard)
            else:
                raise ValueError("a client sends objects, and one message at a time")

    async def deliver(self, connection: Connection) -> None:
        """Show the mailbox, then the queue, until the device is gone."""
        await connection.socket.send_json({"state": "catching up"})
        await self.catch_up(connection)
        connection.live = True
        await connection.socket.send_json({"state": "live"})
        while await connection.queued.wait():
            batch = connection.queue[:PAGE_MAX]
            await connection.show([event for event, _ in batch])
            del connection.queue[: len(batch)]
            for _, stored in batch:
                stored.set_result(True)
            if not connection.queue:
                connection.queued.clear()

    async def catch_up(self, connection: Connection) -> None:
        """Return when everything of before the registration is on the device."""
        user, device = connection.user, connection.device
        until = connection.registered + timedelta(seconds=PRESENCE_S)
        while True:
            try:
                catching_up = self.mailboxes.catch_up(
                    user, until=until, device=device, timeout_s=CATCH_UP_S, limit=PAGE_MAX
                )
                async for page in catching_up:
                    if page.messages:
                        await connection.show([m.to_cloudevent() for m in page.messages])
                    await self.mailboxes.ack(user, page.receipt, device=device)
                if catching_up.complete:
                    return
            except MailboxError as error:
                log.warning("%s/%s waits: %s", user, device, error)
            await connection.socket.send_json({"state": "waiting"})  # more may be on its way
            await asyncio.sleep(AGAIN_S)

    async def accept(self, connection: Connection, said: dict[str, Any]) -> None:
        """Route a client's message, and tell it what became of that."""
        id_, to, text = (str(said.get(name, "")) for name in ("id", "to", "text"))
        text = text.encode(errors="replace").decode()  # JSON may have half of a surrogate pair
        answer = {"accepted": id_}
        if not NAME.fullmatch(id_) or not NAME.fullmatch(to) or not 0 < len(text) <= TEXT_MAX:
            answer = {"refused": id_, "why": f"it needs a name, and 1 to {TEXT_MAX} characters"}
        else:
            event = {
                "specversion": "1.0", "id": id_, "source": f"/chat/{connection.user}",
                "type": "chat.message", "time": datetime.now(UTC).isoformat(), "data": text,
            }  # fmt: skip
            try:
                answer["way"] = await self.route(to, event)
            except KafkaError as error:
                log.warning("a message is not accepted: %r", error)
                answer = {"failed": id_, "why": "Kafka does not answer"}
        with suppress(ConnectionError):
            await connection.socket.send_json(answer)

    async def route(self, user: str, event: Event) -> str:
        """Return, with its way, when every device of a user has a message, or Kafka. Raises
        KafkaError."""
        live = [(c.device, c.put(event)) for c in self.online.get(user, {}).values() if c.live]
        stored = {device for device, done in live if await done}
        try:
            devices = await self.mailboxes.devices(user)  # a Query; a chat has a directory
        except MailboxError:
            devices = ()  # unknown: then Kafka
        if devices and {device.name for device in devices} <= stored:
            self.ways["live"] += 1
            return "live"
        await self.producer.send_and_wait(
            self.topic, key=user.encode(), value=event["data"].encode(),
            headers=[(f"ce_{n}", v.encode()) for n, v in event.items() if n != "data"],
        )  # fmt: skip
        self.ways["Kafka"] += 1
        for connection in self.online.get(user, {}).values():  # rule 3
            if connection.device not in stored:
                connection.put(event)
        return "Kafka"
