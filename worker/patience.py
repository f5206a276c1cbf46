"""How long a command waits for a store: a person is looking. A worker waits without end."""

import asyncio
import time
from collections.abc import Callable

from worker.dynamodb import Store
from worker.errors import OperatorError

#: Seconds that a command waits for a store that is away or throttles.
ANSWER_S_MAX = 10.0


def impatient(store: Store, clock: Callable[[], float] = time.monotonic) -> Store:
    """The same store; its calls raise OperatorError when they would wait past ANSWER_S_MAX."""
    deadline = clock() + ANSWER_S_MAX

    async def sleep(seconds: float) -> None:
        if clock() + seconds > deadline:
            raise OperatorError(
                "DynamoDB does not answer: is it running, and are AWS_ENDPOINT_URL_DYNAMODB,"
                " AWS_REGION and the network right?"
            )
        await asyncio.sleep(seconds)

    store.sleep = sleep
    return store
