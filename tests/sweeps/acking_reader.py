"""A gateway that reads a mailbox and acknowledges it, and crashes at a step. Run by the sweeps.

It says on its standard output what it has done, one JSON array a line, before it goes on: the
journal of a process that may end at any instant.
"""

import asyncio
import json
import os
import sys
import zlib
from typing import Any

from poste_restante import Mailboxes, Page
from tests.audit.observer import dynamodb_client
from tests.sweeps.orders import Order, crash_at
from tests.sweeps.steps import ACK_STEPS, watch
from tests.sweeps.watched_client import WatchedClient

#: Messages of the first page, which is acknowledged first.
FIRST_PAGE = 10


def say(*what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def read(url: str, table: str, user: str) -> None:
    """A first page and its acknowledgement, then all the others and theirs, twice."""
    async with dynamodb_client(url) as client:
        mailboxes = Mailboxes(WatchedClient(client), table=table, delete_acknowledged=True)
        page = await fetch(mailboxes, user, limit=FIRST_PAGE)
        await ack(mailboxes, user, page)
        page = await fetch(mailboxes, user)
        for _ in range(2):
            await ack(mailboxes, user, page)


async def fetch(mailboxes: Mailboxes, user: str, limit: int | None = None) -> Page:
    say("fetch")
    page = await mailboxes.fetch(user, limit=limit)
    messages = [[*m.position.log, m.position.offset, zlib.crc32(m.body)] for m in page.messages]
    say("page", messages, page.more)
    return page


async def ack(mailboxes: Mailboxes, user: str, page: Page) -> None:
    say("ack")
    await mailboxes.ack(user, page.receipt)
    say("acknowledged")


def main() -> None:
    watch(ACK_STEPS, crash_at(Order.of(os.environ)))
    asyncio.run(read(*sys.argv[1:]))


if __name__ == "__main__":
    main()
