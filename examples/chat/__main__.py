"""The chat gateway. `make example` starts it with Kafka, DynamoDB and a worker."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from examples.chat.gateway import Gateway
from examples.chat.panel import Panel
from poste_restante import MailboxError, open_mailboxes

PAGE = Path(__file__).with_name("page.html")
#: Nothing of elsewhere; the page's own script and style.
POLICY = "default-src 'self' 'unsafe-inline'; img-src data:; frame-ancestors 'self'"


def arguments() -> argparse.Namespace:
    kafka = os.environ.get("POSTE_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")
    topic = os.environ.get("POSTE_KAFKA__TOPIC", "undelivered-messages")
    table = os.environ.get("POSTE_DYNAMODB__TABLE", "mailboxes")
    parser = argparse.ArgumentParser(prog="python -m examples.chat", description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--bootstrap-servers", default=kafka)
    parser.add_argument("--topic", default=topic)
    parser.add_argument("--table", default=table)
    parser.add_argument("--push-group", default="push-notifications", help="the second reader")
    parser.add_argument("--worker", default="http://127.0.0.1:6066", help="its HTTP server")
    return parser.parse_args()


async def serve(given: argparse.Namespace, kind: type[Gateway] = Gateway) -> None:
    """Serve the page, its socket and its panel until a signal ends it. kind: of gateway."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    kafka = {"bootstrap_servers": given.bootstrap_servers}
    async with AsyncExitStack() as stack:
        mailboxes = await stack.enter_async_context(
            open_mailboxes(table=given.table, partitioner="murmur2")
        )
        producer = AIOKafkaProducer(
            **kafka, acks="all", enable_idempotence=True, request_timeout_ms=10_000
        )
        await stack.enter_async_context(producer)
        consumer = AIOKafkaConsumer(
            given.topic, **kafka, group_id=given.push_group, auto_offset_reset="earliest"
        )
        await stack.enter_async_context(consumer)
        gateway = kind(mailboxes, producer, given.topic)
        panel = Panel(gateway, given.worker)
        pushing = asyncio.create_task(panel.push(consumer))
        stack.callback(pushing.cancel)
        app = web.Application()
        app.add_routes([
            web.get("/", page), web.get("/socket", gateway.connect), web.get("/panel", panel.show)
        ])  # fmt: skip
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", given.port).start()
        print(f"chat: http://127.0.0.1:{given.port}/", flush=True)
        await stop.wait()
        await gateway.close()


async def page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE, headers={"Content-Security-Policy": POLICY})


def main(kind: type[Gateway] = Gateway) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("chat").setLevel(logging.INFO)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it repeats what `chat` says
    try:
        asyncio.run(serve(arguments(), kind))
    except (KafkaError, MailboxError, OSError) as error:
        sys.exit(f"chat: {error}")


if __name__ == "__main__":
    main()
