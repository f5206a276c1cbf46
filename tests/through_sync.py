"""The synchronous module behind the asynchronous names, for suites that hold both."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

from anyio.from_thread import BlockingPortal

from poste_restante import sync
from poste_restante.mailboxes import Mailboxes
from poste_restante.page import Page


class ThroughSync:
    """`await` for every method of `sync.Mailboxes`, which is called in a thread."""

    def __init__(self, portal: BlockingPortal, mailboxes: Mailboxes) -> None:
        self._sync = sync.Mailboxes(portal, mailboxes)

    def __getattr__(self, name: str) -> Any:
        return partial(asyncio.to_thread, getattr(self._sync, name))

    async def pages(self, *arguments: Any, **named: Any) -> AsyncIterator[Page]:
        pages: Iterator[Page] = self._sync.pages(*arguments, **named)
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            yield page
