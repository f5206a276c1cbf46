"""A small gateway as a user writes it, with every type that is named: checked by mypy --strict
against the installed package, and run (tests/integration/test_wheel.py)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime

from poste_restante import (
    CatchUp,
    Device,
    Header,
    InvalidReceipt,
    MailboxError,
    Mailboxes,
    Message,
    Page,
    Position,
    StoreUnavailable,
    TableMismatch,
    UnreadableItem,
    open_mailboxes,
)
from poste_restante.testing import InMemoryMailboxes


def header(message: Message, name: str) -> bytes | None:
    headers: tuple[Header, ...] = message.headers
    return next((value for each, value in headers if each == name), None)


def newest(messages: tuple[Message, ...]) -> Position | None:
    return max((message.position for message in messages), default=None)


def packed(page: Page) -> str:
    receipt: str | None = page.receipt
    return json.dumps({
        "messages": [message.to_cloudevent() for message in page.messages],
        "receipt": receipt,
        "more": page.more,
    })  # fmt: skip


async def pages(mailboxes: Mailboxes, user_id: str) -> AsyncIterator[Page]:
    async with aclosing(mailboxes.pages(user_id, limit=10)) as found:
        async for page in found:
            yield page


async def reconnect(
    mailboxes: Mailboxes, user_id: str, device: str, online_since: datetime
) -> tuple[list[Page], bool]:
    found: CatchUp = mailboxes.catch_up(user_id, until=online_since, device=device)
    shown = [page async for page in found]
    fresh_as_of: datetime | None = found.fresh_as_of
    return shown, found.complete and fresh_as_of is not None


async def confirm(mailboxes: Mailboxes, user_id: str, receipt: str | None) -> str:
    try:
        await mailboxes.ack(user_id, receipt)
    except StoreUnavailable as error:
        return "throttled" if error.throttled else "away"
    except InvalidReceipt:
        return "not yours"
    except UnreadableItem as error:
        return error.after
    except TableMismatch:
        return "stopped"
    except MailboxError as error:
        return str(error)
    return "done"


async def stale(mailboxes: Mailboxes, user_id: str) -> list[str]:
    """The devices of a user that have acknowledged nothing yet."""
    found: tuple[Device, ...] = await mailboxes.devices(user_id)
    return [device.name for device in found if not device.acknowledged]


async def serve() -> None:
    async with open_mailboxes(table="mailboxes", receipt_keys=["secret"], timeout_s=1) as mailboxes:
        async for page in pages(mailboxes, "bob"):
            await confirm(mailboxes, "bob", page.receipt)


async def main() -> None:
    mailboxes = InMemoryMailboxes(receipt_keys=["secret"])
    sent: Message = mailboxes.deliver("bob", b"hello", headers=[("trace", b"1")])
    (page,) = [page async for page in pages(mailboxes, "bob")]
    assert page.messages == (sent,)
    assert header(sent, "trace") == b"1"
    assert newest(page.messages) == sent.position == (1, 0, 0)
    assert json.loads(packed(page))["messages"][0]["data"] == "hello"
    assert await confirm(mailboxes, "bob", page.receipt) == "done"
    assert await confirm(mailboxes, "ann", page.receipt) == "not yours"
    assert (await mailboxes.fetch("bob")).messages == ()
    assert await mailboxes.add_device("bob", "phone", start="oldest")
    assert await stale(mailboxes, "bob") == ["phone"]
    assert await mailboxes.count("bob", device="phone") == 1
    mailboxes.deliver("bob", b"on its way", after_s=3)
    shown, complete = await reconnect(mailboxes, "bob", "phone", mailboxes.now)
    assert [len(each.messages) for each in shown] == [1, 1]
    assert complete


if __name__ == "__main__":
    asyncio.run(main())
