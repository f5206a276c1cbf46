"""`poste fetch`: one page, all of them, or what arrives from now on as well."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from poste_restante import Mailboxes, Page

#: Seconds between two looks of `poste fetch --follow`.
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
    """Yield a page, or where `every` is set all of them. Acknowledges nothing.

    follow: go on, with pages that have messages, as if all before had been acknowledged. So new
    mail is found in every partition, and what another client acknowledges meanwhile is not shown.
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
