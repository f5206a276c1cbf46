"""What the page's panel shows: mailboxes, the worker, and a second reader of the topic."""

import asyncio
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, web
from aiokafka import AIOKafkaConsumer

from examples.chat.gateway import Gateway
from poste_restante import MailboxError

#: Users that are shown, and messages that are counted of a mailbox.
USERS_MAX, COUNT_MAX = 8, 1000
#: Seconds for the worker to answer.
ANSWER_S = 1.0


class Panel:
    """worker: the address of a worker's HTTP server."""

    def __init__(self, gateway: Gateway, worker: str) -> None:
        self.gateway, self.worker = gateway, worker
        self.pushes: Counter[str] = Counter()

    async def push(self, consumer: AIOKafkaConsumer) -> None:
        """Count the notifications that a push service would send: the topic is still Kafka's, and
        every consumer group reads all of it."""
        async for record in consumer:
            self.pushes[(record.key or b"").decode(errors="replace")] += 1

    async def show(self, _: web.Request) -> web.Response:
        users = sorted({*self.gateway.online, *self.pushes})[:USERS_MAX]
        worker, *mailboxes = await asyncio.gather(self.ask_worker(), *map(self.mailbox, users))
        return web.json_response(
            {"users": dict(zip(users, mailboxes, strict=True)), "worker": worker,
             "ways": self.gateway.ways, "pushes": self.pushes.total()}
        )  # fmt: skip

    async def mailbox(self, user: str) -> dict[str, Any]:
        """Each device: its state, what waits for it, and seconds since the mailbox was complete."""
        found: dict[str, Any] = {}
        mailboxes, online = self.gateway.mailboxes, self.gateway.online.get(user, {})
        try:
            for name in [device.name for device in await mailboxes.devices(user)]:
                page = await mailboxes.fetch(user, device=name, limit=1, freshness=True)
                connection = online.get(name)
                found[name] = {
                    "state": "offline" if connection is None else
                             "live" if connection.live else "catching up",
                    "waits": await mailboxes.count(user, device=name, limit=COUNT_MAX),
                    "age": None if page.fresh_as_of is None else
                           (datetime.now(UTC) - page.fresh_as_of).total_seconds(),
                }  # fmt: skip
        except MailboxError as error:
            return {"": {"state": str(error), "waits": "?", "age": None}}
        return found

    async def ask_worker(self) -> dict[str, Any]:
        """Its readiness, and how far what is durable is behind the topic."""
        try:
            async with ClientSession(self.worker, timeout=ClientTimeout(ANSWER_S)) as session:
                async with session.get("/readyz") as answer:
                    ready = await answer.json()
                async with session.get("/metrics") as answer:
                    metrics = await answer.text()
        except (ClientError, TimeoutError, ValueError):
            return {"state": "does not answer", "records": "?", "seconds": None}
        lag = {"records": 0.0, "seconds": 0.0}
        for unit, value in re.findall(r"(?m)^poste_partition_lag_(\w+){.*} (.+)$", metrics):
            lag[unit] = max(lag[unit], float(value))
        return {"state": "ready" if ready["ready"] else "; ".join(ready["reasons"]), **lag}
