"""A store with the deadline of a command. A worker waits without end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from worker.dynamodb.errors import CallRetry
from worker.dynamodb.retrying_store import RetryingStore, open_store
from worker.errors import OperatorError
from worker.settings import DynamoDBSettings

#: Seconds that a command waits for one answer of a store.
ANSWER_S_MAX = 10.0
#: Transient refusals of one call: about a second.
REFUSALS_MAX = 5


T = TypeVar("T")


class DeadlineStore(RetryingStore):
    """A RetryingStore whose calls raise OperatorError if they would wait past `answer_s_max`."""

    answer_s_max = ANSWER_S_MAX
    refusals_max = REFUSALS_MAX
    _last = CallRetry("no answer")

    def note(self, wait: CallRetry) -> None:
        """Keep the reason for the one line that the command prints at its end."""
        self._last = wait

    def say_waiting(self, what: str, why: str, for_s: float) -> None:
        """Log nothing: a command prints the reason at its end."""

    async def repeat(self, operation: str, attempt: Callable[[], Awaitable[T]]) -> T:
        self._last = CallRetry("no answer")
        try:
            async with asyncio.timeout(self.answer_s_max):
                return await super().repeat(operation, attempt)
        except TimeoutError:
            if isinstance(self._last.last, OperatorError):  # of credentials, or a refusal
                raise self._last.last from None
            raise OperatorError(
                f"DynamoDB does not answer ({operation}: {self._last.why}): is it running, and are"
                " AWS_ENDPOINT_URL_DYNAMODB, AWS_DEFAULT_REGION and the network right?"
            ) from None


@asynccontextmanager
async def open_deadline_store(dynamodb: DynamoDBSettings) -> AsyncIterator[RetryingStore]:
    """Open a store, as `open_store` does, with a deadline."""
    async with open_store(timeout_s=dynamodb.timeout_s, kind=DeadlineStore) as store:
        yield store
