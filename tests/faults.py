"""A DynamoDB client that goes wrong in the ways the real one does, on order."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

Answer = dict[str, Any]
#: What becomes of one call: it may be made, or not, or answered otherwise.
Fault = Callable[[Callable[..., Awaitable[Answer]], Answer], Awaitable[Answer]]


def refusal(code: str, text: str = "", status: int = 400) -> ClientError:
    """An error as DynamoDB words it."""
    return ClientError(
        {
            "Error": {"Code": code, "Message": text},
            "ResponseMetadata": {"HTTPStatusCode": status},
        },
        "Operation",
    )


def refuses(code: str, text: str = "", status: int = 400) -> Fault:
    """The call is not made."""

    async def fault(make: Callable[..., Awaitable[Answer]], arguments: Answer) -> Answer:
        raise refusal(code, text, status)

    return fault


async def not_reached(make: Callable[..., Awaitable[Answer]], arguments: Answer) -> Answer:
    """Nobody listens."""
    raise EndpointConnectionError(endpoint_url="http://nowhere")


async def answer_lost(make: Callable[..., Awaitable[Answer]], arguments: Answer) -> Answer:
    """The call is made; its answer does not arrive in time."""
    await make(**arguments)
    raise ReadTimeoutError(endpoint_url="http://nowhere")


async def answer_broken_off(make: Callable[..., Awaitable[Answer]], arguments: Answer) -> Answer:
    """The call is made; the connection breaks within the answer."""
    await make(**arguments)
    raise aiohttp.ClientPayloadError("half of it")


async def answer_empty(make: Callable[..., Awaitable[Answer]], arguments: Answer) -> Answer:
    """The call is made; the answer is cut off, which botocore reads as one without members."""
    await make(**arguments)
    return {"ResponseMetadata": {"HTTPStatusCode": 200}}


async def answer_misshapen(make: Callable[..., Awaitable[Answer]], arguments: Answer) -> Answer:
    """The call is made; the answer is of a shape that botocore fails to parse."""
    await make(**arguments)
    raise AttributeError("'list' object has no attribute 'items'")


def unprocessed(count: int) -> Fault:
    """`batch_write_item` leaves the last `count` items."""

    async def fault(make: Callable[..., Awaitable[Answer]], arguments: Answer) -> Answer:
        ((table, requests),) = arguments["RequestItems"].items()
        first_left = max(0, len(requests) - count)
        taken, left = requests[:first_left], requests[first_left:]
        if taken:
            await make(RequestItems={table: taken})
        return {"UnprocessedItems": {table: left} if left else {}}

    return fault


def answers(answer: Answer) -> Fault:
    """The call is made; this is the answer."""

    async def fault(make: Callable[..., Awaitable[Answer]], arguments: Answer) -> Answer:
        await make(**arguments)
        return answer

    return fault


class FaultyClient:
    """Wraps a client. `faults` befall the next calls, in order; then all is well.

    poison: offsets of `first`, as a bundle key ends with; a call with such an item is refused.
    calls: what was called, with its arguments. in_flight_max: calls at the same time.
    """

    def __init__(self, client: Any, *faults: Fault) -> None:
        self.client = client
        self.faults = list(faults)
        self.poison: set[str] = set()
        self.calls: list[tuple[str, Answer]] = []
        self.in_flight = self.in_flight_max = 0

    def __getattr__(self, operation: str) -> Callable[..., Awaitable[Answer]]:
        async def call(**arguments: Any) -> Answer:
            self.calls.append((operation, arguments))
            self.in_flight += 1
            self.in_flight_max = max(self.in_flight, self.in_flight_max)
            try:
                return await self._call(operation, arguments)
            finally:
                self.in_flight -= 1

        return call

    async def _call(self, operation: str, arguments: Answer) -> Answer:
        make = getattr(self.client, operation)
        await asyncio.sleep(0)  # as every call over a network does
        if operation == "batch_write_item" and self.poison.intersection(written(arguments)):
            raise refusal("ValidationException", "Item size has exceeded the maximum allowed size")
        if self.faults:
            return await self.faults.pop(0)(make, arguments)
        answer: Answer = await make(**arguments)
        return answer


def written(arguments: Answer) -> list[str]:
    """The sort keys in the arguments of a `batch_write_item`, in order."""
    ((_, requests),) = arguments["RequestItems"].items()
    return [request["PutRequest"]["Item"]["position"]["S"] for request in requests]
