"""A gateway that reads a mailbox and acknowledges it, for the account and for devices, and crashes
at a step. Run by the sweeps.

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
#: A device that is added, one that is not, and those that come and go.
ADDED, NOT_ADDED, GUESTS = "desk", "phone", ("guest-1", "guest-2", "guest-3")


def say(*what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def read(url: str, table: str, user: str) -> None:
    """A first page and its acknowledgement, then all the others and theirs, twice. Before that the
    devices: what the account has acknowledged, one without a cursor does not see. They acknowledge
    two pages, the second of them since the first, and then the others.
    """
    async with dynamodb_client(url) as client:
        mailboxes = Mailboxes(WatchedClient(client), table=table, delete_acknowledged=True)
        await add(mailboxes, user, ADDED)
        for device in (ADDED, NOT_ADDED):
            page = await fetch(mailboxes, user, limit=FIRST_PAGE, device=device)
            page = await fetch(mailboxes, user, limit=FIRST_PAGE, device=device, since=page.receipt)
            await ack(mailboxes, user, page, device=device)
            page = await fetch(mailboxes, user, device=device)
            await ack(mailboxes, user, page, device=device)
        for device in GUESTS:
            await add(mailboxes, user, device)
            say("remove", device)
            await mailboxes.remove_device(user, device)
        page = await fetch(mailboxes, user, limit=FIRST_PAGE)
        await ack(mailboxes, user, page)
        page = await fetch(mailboxes, user)
        for _ in range(2):
            await ack(mailboxes, user, page)


async def fetch(
    mailboxes: Mailboxes,
    user: str,
    limit: int | None = None,
    device: str | None = None,
    since: str | None = None,
) -> Page:
    """since: the receipt of the page before."""
    say("fetch", device, since is not None)
    page = await mailboxes.fetch(user, limit=limit, device=device, since=since)
    messages = [[*m.position.log, m.position.offset, zlib.crc32(m.body)] for m in page.messages]
    say("page", messages, page.more, page.receipt)
    return page


async def ack(mailboxes: Mailboxes, user: str, page: Page, device: str | None = None) -> None:
    say("ack")
    await mailboxes.ack(user, page.receipt, device=device)
    say("acknowledged")


async def add(mailboxes: Mailboxes, user: str, device: str) -> None:
    say("add", device)
    await mailboxes.add_device(user, device, start="oldest")
    say("added")


def main() -> None:
    watch(ACK_STEPS, crash_at(Order.of(os.environ)))
    asyncio.run(read(*sys.argv[1:]))


if __name__ == "__main__":
    main()
