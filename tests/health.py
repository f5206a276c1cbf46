"""What a worker's health endpoints answer."""

from typing import Any

import aiohttp

#: Seconds that an answer may take; a hang fails the test.
_ANSWER_S_MAX = 30.0


async def ask_health(url: str) -> tuple[int, Any]:
    """Status and JSON of an endpoint; (0, None) while nobody listens there."""
    limit = aiohttp.ClientTimeout(total=_ANSWER_S_MAX)
    try:
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as answer:
            return answer.status, await answer.json()
    except aiohttp.ClientConnectionError:
        return 0, None
