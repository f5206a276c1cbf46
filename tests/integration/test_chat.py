"""The chat example, in a real browser."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Frame, Page

from local.child import Child
from local.ready import free_ports
from tests.browser import PROGRAM, browser_page, keep_screenshot
from tests.deployment import DEADLINE_S, Deployment
from tests.optional import need
from tests.preloaded import PreloadedChild

ALICE, PHONE, LAPTOP = "alice laptop", "bob phone", "bob laptop"
#: What Alice and Bob write, again and again, numbered. One has markup, which is text.
LINES = (
    "Are you coming tonight?", "At eight, as always", "Bring the <b>maps</b>, & a lamp",
    "It may rain", "Then we take the train", "Platform 4", "<img src=x onerror=alert(1)>",
)  # fmt: skip
#: Messages of each part of the story.
PART = 8


def lines(begin: int, end: int) -> list[str]:
    return [f"{n}. {LINES[n % len(LINES)]}" for n in range(begin, end)]


class Desk:
    """The page with its three devices. It has one mouse."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.mouse = asyncio.Lock()
        self.written = {ALICE: 0, PHONE: 0}

    def device(self, name: str) -> Frame:
        frame = self.page.frame(name)
        assert frame is not None, name
        return frame

    async def until_state(self, name: str, state: str) -> None:
        await self.device(name).wait_for_selector(f"#dot.{state}", timeout=DEADLINE_S * 1000)

    async def switch(self, name: str) -> None:
        async with self.mouse:
            await self.device(name).click("#switch")

    async def write(self, name: str, count: int = PART) -> None:
        """So many messages more, whether the device is online or not."""
        begin = self.written[name]
        self.written[name] += count
        for text in lines(begin, begin + count):
            async with self.mouse:
                await self.device(name).fill("#text", text)
                await self.device(name).click("#send")

    async def screen(self, name: str, kind: str) -> list[str]:
        """The texts on a screen, from above: kind "theirs" or "mine"."""
        found: list[str] = await self.device(name).eval_on_selector_all(
            f"#messages li.{kind}", "items => items.map(item => item.firstChild.textContent)"
        )
        return found

    async def unsent(self) -> int:
        notes = [
            await self.device(name).locator("#messages li.mine small").all_inner_texts()
            for name in (ALICE, PHONE)
        ]
        return sum("waiting" in note for found in notes for note in found)


@pytest.fixture(autouse=True)
def _browser_is_there() -> None:
    need(PROGRAM)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with browser_page() as page:
        yield Desk(page)
        await keep_screenshot(page, "chat-last")


@pytest.fixture
def ports() -> tuple[int, int]:
    """Of the gateway, and of the worker's HTTP server."""
    gateway, worker = free_ports(2)
    return gateway, worker


@pytest.fixture
async def gateway(deployment: Deployment, ports: tuple[int, int]) -> Child:
    deployment.init(4)
    child = PreloadedChild(
        [sys.executable, "-m", "examples.chat", "--port", str(ports[0]),
         "--worker", f"http://127.0.0.1:{ports[1]}", "--push-group", f"push-{deployment.group}"],
        log=deployment.directory / "gateway.log", env=deployment.environment,
    )  # fmt: skip
    deployment.workers.append(child)  # which ends it, and shows its log where a test fails
    await start(deployment, child)
    return child


async def start(deployment: Deployment, gateway: Child) -> None:
    before = gateway.output().count("chat: http")
    gateway.start()
    await deployment.until(
        lambda: gateway.output().count("chat: http") > before, "the gateway listens"
    )


@pytest.mark.timeout(400)
async def test_two_people_lose_nothing_and_see_nothing_twice_in_a_browser(
    deployment: Deployment, gateway: Child, ports: tuple[int, int], desk: Desk
) -> None:
    """They go offline and online in the middle of traffic, the worker is killed, and the gateway is
    killed. In the end every screen shows everything once, in order, on both of Bob's devices, and
    no markup has become more than text (G1, G3, G5, G11, G12)."""
    worker_http = {"POSTE_HTTP__PORT": str(ports[1])}
    worker = deployment.worker(**worker_http)
    page = desk.page
    await page.goto(f"http://127.0.0.1:{ports[0]}/")
    for name in (ALICE, PHONE, LAPTOP):
        await desk.until_state(name, "live")

    await desk.write(ALICE, 2)
    await desk.write(PHONE, 1)
    await desk.switch(LAPTOP)
    await desk.write(ALICE, 2)
    await page.get_by_text("through Kafka").wait_for()
    await deployment.until(
        lambda: has_row(page, "bob · laptop", "offline", "2"), "two messages wait for the laptop"
    )
    await keep_screenshot(page, "chat-offline")

    worker.kill()
    await desk.write(ALICE, 3)
    await desk.switch(LAPTOP)  # it catches up, and nobody writes its mailbox
    await desk.until_state(LAPTOP, "catching")
    await deployment.until(lambda: has_row(page, "state", "does not answer"), "the worker is seen")
    await keep_screenshot(page, "chat-catching-up")

    await asyncio.gather(desk.write(ALICE), desk.write(PHONE))
    await desk.switch(PHONE)
    second = deployment.worker(**worker_http)
    await asyncio.gather(desk.write(ALICE), desk.write(PHONE))
    gateway.kill()
    await asyncio.gather(desk.write(ALICE), desk.write(PHONE), start(deployment, gateway))
    await desk.switch(PHONE)
    await desk.switch(ALICE)
    await asyncio.gather(desk.write(ALICE), desk.write(PHONE))
    second.kill()
    deployment.worker(**worker_http)
    await desk.switch(LAPTOP)
    await desk.switch(LAPTOP)
    await desk.switch(ALICE)

    expected = {
        ALICE: lines(0, desk.written[PHONE]),
        PHONE: lines(0, desk.written[ALICE]),
        LAPTOP: lines(0, desk.written[ALICE]),
    }

    async def all_is_there() -> bool:
        shown = {name: await desk.screen(name, "theirs") for name in expected}
        enough = all(len(shown[name]) >= len(texts) for name, texts in expected.items())
        return enough and await desk.unsent() == 0

    await deployment.until(all_is_there, "everything is sent and shown")
    for name in expected:
        await desk.until_state(name, "live")
    await keep_screenshot(page, "chat-end")
    assert {name: await desk.screen(name, "theirs") for name in expected} == expected

    await page.reload()
    for name in expected:
        await desk.until_state(name, "live")
    assert {name: await desk.screen(name, "theirs") for name in expected} == expected
    async with deployment.mailboxes() as mailboxes:
        for device in ("phone", "laptop"):
            assert await mailboxes.count("bob", device=device) == 0
    assert await desk.device(LAPTOP).locator("#messages img, #messages b").count() == 0


async def has_row(page: Page, *cells: str) -> bool:
    """Whether the panel has a row that begins with these cells."""
    rows: list[list[str]] = await page.eval_on_selector_all(
        "#panel tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return any(row[: len(cells)] == list(cells) for row in rows)
