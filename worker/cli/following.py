"""The pages of `poste fetch`: one, all, or new ones as well."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from poste_restante import Mailboxes, Page

#: Seconds between two fetches of `poste fetch --follow`.
FOLLOW_S = 1.0


async def pages(
    mailboxes: Mailboxes,
    user: str,
    *,
    limit: int | None,
    after: str | None,
    since: str | None,
    device: str | None,
    every: bool,
    follow: bool,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Page]:
    """Yield one page, or all if `every` is set. Acknowledges nothing.

    follow: then yield new pages with messages, since the last receipt. This finds new messages in
    every partition, and none that another client has acknowledged.
    """
    page = await mailboxes.fetch(
        user, limit=limit, after=after, since=since, device=device, freshness=after is None
    )
    yield page
    while every:
        while page.more:
            page = await mailboxes.fetch(user, limit=limit, after=page.receipt, device=device)
            yield page
        if not follow:
            return
        await sleep(FOLLOW_S)
        page = await mailboxes.fetch(user, limit=limit, since=page.receipt, device=device)
        if page.messages:
            yield page
