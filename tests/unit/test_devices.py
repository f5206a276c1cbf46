"""Devices against an oracle: each sees what its own cursor leaves, whatever the others do."""

import asyncio
import copy
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.devices import DeviceStart
from poste_restante.item import encode_bundle
from poste_restante.message import Message
from poste_restante.position import TABLE_RECORD_KEY, LogId, Position, cursor_key, device_of
from poste_restante.receipt import Receipts
from poste_restante.table import Cursor, TableRecord
from poste_restante.testing import InMemoryMailboxes

DEVICES = ["phone", "pad"]
WHO = st.sampled_from([None, *DEVICES])
LOGS = st.sampled_from([LogId(1, 0), LogId(1, 2), LogId(2, 0)])
WHICH = st.integers(0, 3)
LIMITS = st.integers(1, 5)
STEPS = st.one_of(
    st.tuples(st.just("deliver"), LOGS, st.integers(1, 4)),
    st.tuples(st.just("replay"), LOGS, st.integers(1, 4), st.integers(1, 9)),
    st.tuples(st.just("read"), WHO, LIMITS, st.integers(1, 3)),
    st.tuples(st.just("go_on"), WHO, WHICH, LIMITS),
    st.tuples(st.just("since"), WHO, WHICH, st.integers(1, 9)),
    st.tuples(st.just("ack"), WHO, WHICH),
    st.tuples(
        st.just("add"), st.sampled_from(DEVICES), st.sampled_from(["oldest", "newest", "account"])
    ),
    st.tuples(st.just("remove"), st.sampled_from(DEVICES)),
)


@st.composite
def held_back(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Steps of one device whose receipts are held back while the account acknowledges all."""
    reads = [("read", "phone", limit, 1) for limit in draw(st.permutations([1, 2, 3]))[:2]]
    begin = [("deliver", LogId(1, 0), 6), *draw(st.permutations([*reads, ("account_has_all",)]))]
    goes_on = st.tuples(
        st.sampled_from(["go_on", "since"]), st.just("phone"), st.integers(0, 2), LIMITS
    )
    acks = st.tuples(st.just("ack"), st.just("phone"), st.integers(0, 3))
    others = st.sampled_from([
        ("add", "phone", "oldest"), ("add", "phone", "account"), ("remove", "phone"),
        ("deliver", LogId(1, 0), 1), ("account_has_all",),
    ])  # fmt: skip
    return [*begin, draw(goes_on), *draw(st.lists(acks | goes_on | others, max_size=8))]


def highest(*cursors: Cursor) -> Cursor:
    """Per log, the greatest offset of them."""
    found: Cursor = {}
    for cursor in cursors:
        for log, offset in cursor.items():
            found[log] = max(offset, found.get(log, -1))
    return found


@dataclass(frozen=True)
class Held:
    """A receipt that a device holds, and what it says.

    read_to: per log, up to where it was read, or was told that it need not be. own: of that, what
    the device was shown, or had acknowledged. already_acknowledged: what its own cursor covered
    then. shown: all messages of its pages. removals: how often the device had been removed when
    they began.
    """

    token: str | None = None
    read_to: Cursor = field(default_factory=dict)
    own: Cursor = field(default_factory=dict)
    already_acknowledged: Cursor = field(default_factory=dict)
    shown: frozenset[Position] = frozenset()
    removals: int = 0


@dataclass
class World:
    """Mailboxes, and what every cursor must be. acknowledged: what must not come back to a device,
    unless it is removed."""

    mailboxes: InMemoryMailboxes
    sent: dict[LogId, list[Message]] = field(default_factory=dict)
    cursors: dict[str | None, Cursor] = field(default_factory=lambda: {None: {}})
    held: dict[str | None, list[Held]] = field(default_factory=lambda: defaultdict(list))
    acknowledged: dict[str | None, set[Position]] = field(default_factory=lambda: defaultdict(set))
    removals: dict[str | None, int] = field(default_factory=lambda: defaultdict(int))

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
        """Everybody sees what their own cursor leaves, nothing that they acknowledged, and those
        cursors alone are stored."""
        for device in (None, *DEVICES):
            pages = self.mailboxes.pages("bob", device=device, limit=3)
            seen = [message async for page in pages for message in page.messages]
            assert self.acknowledged[device].isdisjoint(m.position for m in seen), device
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
            self.mailboxes.memory.put(item)

    async def read(self, device: str | None, limit: int, pages: int) -> None:
        """Some pages behind each other; the last one's receipt is held."""
        held: Held | None = Held(removals=self.removals[device])
        for _ in range(pages):
            if held is not None:
                held = await self._page(device, held, limit)
        if held is not None and held.token is not None:
            self.held[device].append(held)

    async def go_on(self, device: str | None, which: int, limit: int) -> None:
        """The page behind a receipt that was held back."""
        for held in self.held[device][which:][:1]:
            following = await self._page(device, held, limit)
            if following is not None:
                self.held[device].append(following)

    async def since(self, device: str | None, which: int, limit: int) -> None:
        for held in self.held[device][which:][:1]:
            following = await self._page(device, replace(held, read_to=held.own), limit, since=True)
            assert following is not None
            self.held[device].append(following)

    async def _page(
        self, device: str | None, held: Held, limit: int, *, since: bool = False
    ) -> Held | None:
        """One page, and its receipt. None: it has none."""
        own = self.cursors.get(device, {})
        floor = highest(held.read_to, self.effective(device))
        wanted = self.wanted(floor)
        if held.token is not None and not since:
            wanted = [m for m in wanted if m.position.log >= await self._log_of(device, held.token)]
        receipt: Any = {"since" if since else "after": held.token}
        page = await self.mailboxes.fetch("bob", device=device, limit=limit, **receipt)
        assert list(page.messages) == wanted[: len(page.messages)]
        assert page.more == (len(page.messages) < len(wanted))
        assert (page.receipt is None) == (held.token is None and not page.messages)
        if page.receipt is None:
            return None
        assert len(page.receipt) < 110
        shown = {m.position.log: m.position.offset for m in page.messages}
        return Held(
            page.receipt,
            read_to=floor | shown,
            own=highest(held.own, own) | shown,
            already_acknowledged=highest(held.already_acknowledged, own),
            shown=held.shown | {m.position for m in page.messages},
            removals=held.removals,
        )

    async def _log_of(self, device: str | None, token: str) -> LogId:
        """The log within which a receipt goes on: it does not go back to those before."""
        (item,) = self.mailboxes.memory.items[TABLE_RECORD_KEY].values()
        record = TableRecord.decode(item)
        receipt = Receipts().decode(token, table_id=record.table_id, user_id="bob", device=device)
        boundary = receipt.boundary
        return LogId(0, 0) if boundary.startswith("!") else LogId.decode(boundary[:10])

    async def ack(self, device: str | None, which: int) -> None:
        for held in self.held[device][which:][:1]:
            await self.mailboxes.ack("bob", held.token, device=device)
            if held.removals == self.removals[device]:
                self.acknowledged[device] |= held.shown
            new = {
                log: o for log, o in held.own.items() if o > held.already_acknowledged.get(log, -1)
            }
            if device in self.cursors:
                self.cursors[device] = highest(self.cursors[device], new)
            elif new:
                self.cursors[device] = dict(held.read_to)

    async def account_has_all(self) -> None:
        await self.read(None, 100, 1)
        await self.ack(None, len(self.held[None]) - 1)

    async def add(self, device: str, start: DeviceStart) -> None:
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
        self.acknowledged[device].clear()
        self.removals[device] += 1


def play(steps: Iterable[tuple[Any, ...]]) -> None:
    async def run() -> None:
        world = World(InMemoryMailboxes())
        for name, *arguments in steps:
            await getattr(world, name)(*arguments)
            await world.check()

    asyncio.run(run())


@given(st.lists(STEPS, max_size=25))
def test_whatever_devices_do_each_sees_what_its_own_cursor_leaves(
    steps: list[tuple[Any, ...]],
) -> None:
    """Page by page, over replays and epochs, added and removed (G12)."""
    play(steps)


@given(held_back())
def test_receipts_that_are_held_back_bring_nothing_back(steps: list[tuple[Any, ...]]) -> None:
    """Acknowledged late, by a device that gets its cursor meanwhile, behind an account that is
    ahead of it (G4, G12)."""
    play(steps)


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
    before = copy.deepcopy(mailboxes.memory.items)
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
