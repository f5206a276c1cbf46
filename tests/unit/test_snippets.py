"""The code that documents show, executed as it stands: what a user copies loses nothing."""

import ast
import asyncio
import json
import re
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import poste_restante
from poste_restante import Mailboxes, Message, StoreUnavailable, testing
from poste_restante.metrics import Metrics
from poste_restante.testing import InMemoryMailboxes
from tests import typed_gateway
from tests.pages import PAGES, ROOT, page

KEY = "secret"
#: Messages that wait: three pages of the snippet's.
WAITING = 250

SNIPPET, DEVICES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
RECONNECT, TESTED = re.findall(r"```python\n(.*?)```", page("gateway"), re.DOTALL)
(METRICS,) = re.findall(r"```python\n(.*?)```", page("metrics"), re.DOTALL)
#: What a user writes who takes a write to a socket for its arrival.
NAIVE = """
from poste_restante import open_mailboxes

async with open_mailboxes(table="mailboxes", receipt_keys=[key]) as mailboxes:
    async for page in mailboxes.pages("bob", limit=100):
        await socket.send(json.dumps({"messages": [m.to_cloudevent() for m in page.messages]}))
        await mailboxes.ack("bob", page.receipt)
"""


class Client:
    """Bob's device: keeps each message once, and sends a page's receipt back once it is kept."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def keep(self, text: str) -> str:
        page = json.loads(text)
        self.kept += [e["data"] for e in page["messages"] if e["data"] not in self.kept]
        return json.dumps({"receipt": page.get("receipt")})


class Socket:
    """A connection that is lost on its way at a step; steps are sendings and answers.

    What is sent then is taken, as a kernel's buffer takes it, and reaches nobody.
    """

    def __init__(self, client: Client, lost_at: int) -> None:
        self._client = client
        self._steps_left = lost_at
        self._answers: list[str] = []

    def _step(self) -> bool:
        self._steps_left -= 1
        return self._steps_left >= 0

    async def send(self, text: str) -> None:
        if self._steps_left < -1:
            raise ConnectionResetError
        if self._step():
            self._answers.append(self._client.keep(text))

    async def recv(self) -> str:
        if not self._step():
            raise ConnectionResetError
        return self._answers.pop()


async def reconnect(
    code: str, mailboxes: InMemoryMailboxes, socket: Socket, patch: pytest.MonkeyPatch
) -> None:
    """Execute a gateway's lines, up to the end of the mailbox or of the connection."""

    @asynccontextmanager
    async def opened(*, table: str, receipt_keys: list[str]) -> AsyncIterator[Mailboxes]:
        assert (table, receipt_keys) == ("mailboxes", [KEY])
        yield mailboxes

    patch.setattr("poste_restante.open_mailboxes", opened)
    compiled = compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(compiled, {"key": KEY, "socket": socket, "json": json})


async def kept(code: str, lost_at: int, patch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """What Bob's device keeps, and what was delivered, where his connections are lost at a step
    and messages come in between."""
    mailboxes = InMemoryMailboxes(receipt_keys=[KEY])
    delivered: list[str] = []
    client = Client()

    def deliver(count: int) -> None:
        for _ in range(count):
            delivered.append(f"message {len(delivered)}")
            mailboxes.deliver("bob", delivered[-1].encode())

    deliver(WAITING)
    for steps in (lost_at, lost_at + 1, 1_000):
        try:
            await reconnect(code, mailboxes, Socket(client, steps), patch)
        except ConnectionResetError:
            deliver(7)
    assert (await mailboxes.fetch("bob")).messages == ()
    return client.kept, delivered


@pytest.mark.parametrize("lost_at", range(9))
async def test_the_readmes_lines_lose_nothing_wherever_a_connection_is_lost(
    monkeypatch: pytest.MonkeyPatch, lost_at: int
) -> None:
    """All of it arrives, in order; what the client has confirmed never comes back (G1, G3, G4)."""
    found, delivered = await kept(SNIPPET, lost_at, monkeypatch)

    assert found == delivered


async def test_acknowledging_what_was_written_loses_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above can fail: it is what the lines are there to avoid (G1)."""
    found, delivered = await kept(NAIVE, 1, monkeypatch)

    assert len(found) < len(delivered)


async def test_the_readmes_lines_do_with_an_empty_mailbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its page has no receipt (G4)."""
    client = Client()
    await reconnect(
        SNIPPET, InMemoryMailboxes(receipt_keys=[KEY]), Socket(client, 1_000), monkeypatch
    )

    assert client.kept == []


async def test_the_lines_for_a_device_do_as_they_say() -> None:
    """It acknowledges for itself; since a receipt there is what came after it (G12)."""
    mailboxes = InMemoryMailboxes()
    first = mailboxes.deliver("bob", b"one")
    receipt = (await mailboxes.fetch("bob")).receipt
    second = mailboxes.deliver("bob", b"two")
    names: dict[str, Any] = {"mailboxes": mailboxes, "receipt": receipt}
    compiled = compile(DEVICES, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(compiled, names)

    assert names["page"].messages == (second,)
    assert (await mailboxes.fetch("bob", device="phone")).messages == ()
    assert (await mailboxes.fetch("bob")).messages == (first, second)


async def test_the_lines_for_metrics_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the registry that a gateway serves (G8)."""
    registry = CollectorRegistry()
    monkeypatch.setattr("prometheus_client.REGISTRY", registry)

    @asynccontextmanager
    async def opened(
        *, table: str, receipt_keys: list[str], metrics: Metrics
    ) -> AsyncIterator[Mailboxes]:
        assert table == "mailboxes"
        mailboxes = InMemoryMailboxes(receipt_keys=receipt_keys, metrics=metrics)
        mailboxes.deliver("bob", b"one")
        yield mailboxes

    monkeypatch.setattr("poste_restante.open_mailboxes", opened)
    names: dict[str, Any] = {"key": KEY}
    compiled = compile(METRICS, "metrics.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(compiled, names)

    assert len(names["page"].messages) == 1
    counted = {"operation": "fetch", "outcome": "ok"}
    assert registry.get_sample_value("poste_reader_calls_total", counted) == 1


def test_the_module_shows_the_same_lines() -> None:
    """Whoever reads `help(poste_restante)` copies those."""
    lines = [line.strip() for line in SNIPPET.splitlines() if line.strip()]
    shown = [line.strip() for line in (poste_restante.__doc__ or "").splitlines()]

    assert [line for line in lines if line not in shown] == []
    assert len(lines) <= 10


def _blocks() -> Iterator[tuple[str, str]]:
    for path in [*PAGES, ROOT / "benchmarks" / "README.md"]:
        for block in re.findall(r"```(?:python|py)\n(.*?)```", path.read_text(), re.DOTALL):
            yield path.name, block


def test_no_other_page_shows_code_that_is_not_tried() -> None:
    """Another snippet is executed here as well, before it is shown."""
    assert sorted(_blocks()) == sorted(
        [
            ("README.md", SNIPPET),
            ("README.md", DEVICES),
            ("metrics.md", METRICS),
            ("gateway.md", RECONNECT),
            ("gateway.md", TESTED),
        ]
    )


def test_the_lines_of_the_testing_module_are_a_test_that_passes() -> None:
    """The docstring of `poste_restante.testing`, as it stands."""
    blocks = re.findall(r"(?m)^    async def test.*(?:\n {8}.*)+", testing.__doc__ or "")
    assert len(blocks) == 2
    for block in blocks:
        scope: dict[str, Any] = {}
        exec(textwrap.dedent(block), scope)
        (test,) = [value for name, value in scope.items() if name.startswith("test_")]
        asyncio.run(test(testing.InMemoryMailboxes()))


async def test_the_typed_gateway_runs() -> None:
    """What it names is exported, and does what it says."""
    await typed_gateway.main()


def test_what_the_module_exports_is_what_a_gateway_names() -> None:
    """And every one of them is used by the gateway that is type-checked."""
    source = Path(typed_gateway.__file__).read_text()

    assert [name for name in poste_restante.__all__ if name not in source] == []
    assert sorted(poste_restante.__all__) == poste_restante.__all__


class Phone:
    """A connected device, its presence and its socket at once: it confirms what it has."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    async def register(self, user: str, device: str, socket: object) -> None:
        self.steps.append(f"{user}'s {device} is online")

    async def send(self, messages: tuple[Message, ...]) -> None:
        self.steps += [message.body.decode() for message in messages]

    async def confirmed(self, page: object) -> None:
        self.steps.append("confirmed")

    async def notice(self, text: str) -> None:
        self.steps.append(text)


def _reconnect(mailboxes: InMemoryMailboxes) -> Any:
    scope: dict[str, Any] = {}
    exec(RECONNECT, scope)

    class Now(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return mailboxes.now

    scope["datetime"] = Now
    return scope["reconnect"]


async def test_the_reconnect_of_the_gateways_page_shows_what_is_on_its_way() -> None:
    """In order, confirmed page by page, acknowledged; and a second time nothing."""
    mailboxes, phone = InMemoryMailboxes(), Phone()
    mailboxes.deliver("bob", b"there")
    mailboxes.deliver("bob", b"on its way", after_s=3)
    reconnect = _reconnect(mailboxes)
    assert await reconnect(mailboxes, phone, phone, "bob", "phone")
    assert phone.steps == [
        "bob's phone is online", "there", "confirmed", "on its way", "confirmed",
    ]  # fmt: skip
    again = Phone()
    assert await reconnect(mailboxes, again, again, "bob", "phone")
    assert again.steps == ["bob's phone is online"]


async def test_the_reconnect_of_the_gateways_page_says_what_it_could_not_prove() -> None:
    mailboxes, phone = InMemoryMailboxes(), Phone()
    mailboxes.freshness_lag_s = None
    assert not await _reconnect(mailboxes)(mailboxes, phone, phone, "bob", "phone")
    mailboxes.fail_next(StoreUnavailable("away"), operation="Query", calls=99)
    assert not await _reconnect(mailboxes)(mailboxes, phone, phone, "bob", "phone")
    assert phone.steps[1::2] == ["older messages may follow", "older messages will follow"]


async def test_the_test_of_the_gateways_page_passes() -> None:
    scope: dict[str, Any] = {}
    exec(TESTED, scope)
    await scope["test_a_message_on_its_way_is_shown"](InMemoryMailboxes())
