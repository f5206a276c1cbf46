"""Devices against an oracle: each sees what its own cursor leaves, whatever the others do."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.devices import Start
from poste_restante.item import encode_bundle
from poste_restante.message import Message
from poste_restante.position import LogId, cursor_key, device_of
from poste_restante.table import Cursor
from poste_restante.testing import InMemoryMailboxes

DEVICES = ["phone", "pad"]
WHO = st.sampled_from([None, *DEVICES])
LOGS = st.sampled_from([LogId(1, 0), LogId(1, 2), LogId(2, 0)])
STEPS = st.one_of(
    st.tuples(st.just("deliver"), LOGS, st.integers(1, 4)),
    st.tuples(st.just("replay"), LOGS, st.integers(1, 4), st.integers(1, 9)),
    st.tuples(st.just("read"), WHO, st.integers(1, 5), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("since"), WHO, st.integers(0, 3), st.integers(1, 9)),
    st.tuples(st.just("ack"), WHO, st.integers(0, 3)),
    st.tuples(
        st.just("add"), st.sampled_from(DEVICES), st.sampled_from(["oldest", "newest", "account"])
    ),
    st.tuples(st.just("remove"), st.sampled_from(DEVICES)),
)


@dataclass
class World:
    """Mailboxes, and what every cursor must be. receipts: with what each covers, per device."""

    mailboxes: InMemoryMailboxes
    sent: dict[LogId, list[Message]] = field(default_factory=dict)
    cursors: dict[str | None, Cursor] = field(default_factory=lambda: {None: {}})
    receipts: dict[str | None, list[tuple[str, Cursor, Cursor]]] = field(default_factory=dict)

    def effective(self, device: str | None) -> Cursor:
        return self.cursors.get(device, self.cursors[None])

    def wanted(self, cursor: Cursor) -> list[Message]:
        """All that such a cursor leaves, in the order of reading."""
        return [
            each
            for log in sorted(self.sent)
            for each in self.sent[log]
            if each.position.offset > cursor.get(log, -1)
        ]

    async def check(self) -> None:
        """Everybody sees what their own cursor leaves, and those cursors alone are stored."""
        for device in (None, *DEVICES):
            pages = self.mailboxes.pages("bob", device=device, limit=3)
            seen = [message async for page in pages for message in page.messages]
            assert seen == self.wanted(self.effective(device)), device
            counted = await self.mailboxes.count("bob", device=device, limit=1_000)
            assert counted == len(seen)
        stored = {found.name: found.acknowledged for found in await self.mailboxes.devices("bob")}
        assert stored == {d: c for d, c in self.cursors.items() if d is not None}

    async def deliver(self, log: LogId, count: int) -> None:
        for _ in range(count):
            message = self.mailboxes.deliver("bob", b"x", epoch=log.epoch, partition=log.partition)
            self.sent.setdefault(log, []).append(message)

    async def replay(self, log: LogId, size: int, count: int) -> None:
        """The log's first messages are written again, in other bundles."""
        again = self.sent.get(log, [])[:count]
        for begin in range(0, len(again), size):
            item = encode_bundle(again[begin : begin + size], "undelivered-messages")
            self.mailboxes.memory.items["bob", item["position"]["S"]] = item

    async def read(self, device: str | None, limit: int, pages: int, keep: bool) -> None:
        """Some pages behind each other."""
        before = self.effective(device)
        rest, after = self.wanted(before), None
        covered = dict(before)
        for _ in range(pages):
            page = await self.mailboxes.fetch("bob", device=device, limit=limit, after=after)
            got = len(page.messages)
            assert list(page.messages) == rest[:got]
            assert page.more == (got < len(rest))
            rest = rest[got:]
            covered |= {m.position.log: m.position.offset for m in page.messages}
            after = page.receipt
            if not page.more:
                break
        if after is not None and keep:
            assert len(after) < 110
            self.receipts.setdefault(device, []).append((after, covered, before))

    async def since(self, device: str | None, which: int, limit: int) -> None:
        for receipt, covered, before in self.receipts.get(device, [])[which:][:1]:
            floor = dict(self.effective(device))
            for log, offset in covered.items():
                floor[log] = max(offset, floor.get(log, -1))
            page = await self.mailboxes.fetch("bob", device=device, limit=limit, since=receipt)
            wanted = self.wanted(floor)
            assert list(page.messages) == wanted[: len(page.messages)]
            assert page.more == (len(page.messages) < len(wanted))
            assert page.receipt is not None
            now = floor | {m.position.log: m.position.offset for m in page.messages}
            begun = dict(self.effective(device))
            for log, offset in before.items():
                begun[log] = max(offset, begun.get(log, -1))
            self.receipts[device].append((page.receipt, now, begun))

    async def ack(self, device: str | None, which: int) -> None:
        for receipt, covered, before in self.receipts.get(device, [])[which:][:1]:
            await self.mailboxes.ack("bob", receipt, device=device)
            new = {log: o for log, o in covered.items() if o > before.get(log, -1)}
            if device not in self.cursors:
                if new:
                    self.cursors[device] = dict(covered)
                return
            cursor = self.cursors[device]
            for log, offset in new.items():
                cursor[log] = max(offset, cursor.get(log, -1))

    async def add(self, device: str, start: Start) -> None:
        made = await self.mailboxes.add_device("bob", device, start)
        assert made == (device not in self.cursors)
        if made and start == "oldest":
            self.cursors[device] = {}
        elif made and start == "account":
            self.cursors[device] = dict(self.cursors[None])
        elif made:
            self.cursors[device] = {
                log: sent[-1].position.offset for log, sent in self.sent.items()
            }

    async def remove(self, device: str) -> None:
        await self.mailboxes.remove_device("bob", device)
        self.cursors.pop(device, None)


@given(st.lists(STEPS, max_size=25))
def test_whatever_devices_do_each_sees_what_its_own_cursor_leaves(
    steps: list[tuple[Any, ...]],
) -> None:
    """Page by page, over replays and epochs, added and removed (G12)."""

    async def play() -> None:
        world = World(InMemoryMailboxes())
        for name, *arguments in steps:
            await getattr(world, name)(*arguments)
            await world.check()

    asyncio.run(play())


NAMES = st.text(st.sampled_from("azAZ09._:-"), min_size=1, max_size=64)


@given(NAMES)
def test_a_devices_cursor_sorts_between_the_accounts_and_every_bundle(name: str) -> None:
    """So a Query from it on brings it first, and the bundles with it (G7, G12)."""
    key = cursor_key(name)

    assert "!" < key < "!~" < "0"
    assert device_of(key) == name
    assert device_of("!") is None


@pytest.mark.parametrize("name", ["", "x" * 65, "my phone", "phone!", "~", "tel\u00e9fono", "a\n"])
async def test_a_name_that_no_device_can_have_is_refused(name: Any) -> None:
    """Before anything is called, with the letters that it may have (G9)."""
    mailboxes = InMemoryMailboxes()
    mailboxes.deliver("bob", b"hello")
    receipt = (await mailboxes.fetch("bob")).receipt
    before = dict(mailboxes.memory.items)
    for work in (
        mailboxes.fetch("bob", device=name),
        mailboxes.count("bob", device=name),
        mailboxes.ack("bob", receipt, device=name),
        mailboxes.ack("bob", None, device=name),
        mailboxes.add_device("bob", name),
        mailboxes.remove_device("bob", name),
    ):
        with pytest.raises(ValueError, match="1 to 64 characters of A-Z"):
            await work
    assert mailboxes.memory.items == before


@pytest.mark.parametrize("name", [7, b"phone", None])
async def test_a_device_is_named_by_a_text(name: Any) -> None:
    """The account is none: it cannot be added, nor removed (G9, G12)."""
    mailboxes = InMemoryMailboxes()
    for work in (mailboxes.add_device("bob", name), mailboxes.remove_device("bob", name)):
        with pytest.raises(TypeError, match="device must be a str"):
            await work
    if name is not None:
        with pytest.raises(TypeError, match="device must be a str"):
            await mailboxes.fetch("bob", device=name)
    with pytest.raises(ValueError, match="start must be one of 'oldest', 'newest', 'account'"):
        await mailboxes.add_device("bob", "phone", start="latest")  # type: ignore[arg-type]
