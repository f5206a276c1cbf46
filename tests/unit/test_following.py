"""`poste fetch --all` and `--follow`: everything once, in order, and nothing acknowledged."""

import asyncio
from typing import Any

import pytest

from poste_restante import Page
from poste_restante.testing import InMemoryMailboxes
from worker.cli.following import pages


def deliver(mailboxes: InMemoryMailboxes, *bodies: bytes, partition: int = 0) -> None:
    for body in bodies:
        mailboxes.deliver("bob", body, partition=partition)


async def shown(mailboxes: InMemoryMailboxes, **options: Any) -> list[list[bytes]]:
    """The bodies of each page."""
    given = {"limit": 2, "after": None, "since": None, "device": None, "follow": False, **options}
    return [bodies(page) async for page in pages(mailboxes, "bob", **given)]


def bodies(page: Page) -> list[bytes]:
    return [message.body for message in page.messages]


async def test_one_page_or_all_of_them() -> None:
    """From the beginning, or behind a receipt (G2, G5)."""
    mailboxes = InMemoryMailboxes()
    deliver(mailboxes, b"0", b"1", b"2", b"3", b"4")
    first = await mailboxes.fetch("bob", limit=1)

    assert await shown(mailboxes, every=False) == [[b"0", b"1"]]
    assert await shown(mailboxes, every=True) == [[b"0", b"1"], [b"2", b"3"], [b"4"]]
    for name in ("after", "since"):
        found = await shown(mailboxes, every=True, **{name: first.receipt})
        assert found == [[b"1", b"2"], [b"3", b"4"]]


@pytest.mark.parametrize("device", [None, "phone"])
async def test_following_shows_what_arrives_once_wherever_it_does(device: str | None) -> None:
    """Also in a partition that sorts before what was shown, and in a mailbox that was empty (G2,
    G5)."""
    mailboxes = InMemoryMailboxes()
    arriving = [
        lambda: deliver(mailboxes, b"0", b"1", b"2", partition=5),
        lambda: None,
        lambda: deliver(mailboxes, b"3", partition=1),
        lambda: deliver(mailboxes, b"4", partition=5),
    ]

    async def sleep(_: float) -> None:
        if not arriving:
            raise asyncio.CancelledError
        arriving.pop(0)()

    found: list[list[bytes]] = []

    async def follow() -> None:
        options: Any = {"after": None, "since": None, "device": device, "sleep": sleep}
        async for page in pages(mailboxes, "bob", limit=2, every=True, follow=True, **options):
            found.extend([bodies(page)])

    with pytest.raises(asyncio.CancelledError):
        await follow()
    assert found == [[], [b"0", b"1"], [b"2"], [b"3"], [b"4"]]
    assert len((await mailboxes.fetch("bob", device=device)).messages) == 5
