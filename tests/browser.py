"""Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Page, async_playwright

from tests.pages import ROOT

PROGRAM = "chromium"
#: Where screenshots are kept, beside what else is not in git.
SCREENSHOTS = ROOT / ".cache" / "screenshots"
#: Pixels of the window.
WIDTH, HEIGHT = 1200, 760
#: A container has no sandbox for root and a small /dev/shm; nothing is asked of the network.
_OPTIONS = (
    "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@asynccontextmanager
async def browser_page() -> AsyncIterator[Page]:
    """A window of a browser of its own. What the page throws fails the test at the end."""
    program = shutil.which(PROGRAM)
    assert program is not None, f"need({PROGRAM!r}) first"
    errors: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=_OPTIONS)
        try:
            page = await browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.on("pageerror", lambda error: errors.append(str(error)))
            yield page
        finally:
            await browser.close()
    assert errors == []


async def keep_screenshot(page: Page, name: str) -> None:
    """As `.cache/screenshots/NAME.png`."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / f"{name}.png")
