"""What becomes of a call with a fault."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.fault_proxy.faults import MISSHAPEN, Fault, answer_of
from tests.fault_proxy.plans import Call
from tests.fault_proxy.wire import Answer, Request

#: Makes a call, as it came or with another body.
Make = Callable[[Request], Awaitable[Answer]]

#: Bytes of an answer that a cut one begins with, at least: its status line has come.
_BEGUN_BYTES = 16


@dataclass(frozen=True)
class Outcome:
    """What the client gets to see.

    answer: None: the connection ends without one. sent_max: bytes of it that are sent before the
    connection ends; None: all, and it goes on. reset: the end is a reset, not a close. held: until
    the client gives up. made: whether DynamoDB has the call.
    """

    answer: Answer | None
    made: bool
    sent_max: int | None = None
    reset: bool = False
    held: bool = False

    @property
    def ends(self) -> bool:
        """Whether the connection ends with it."""
        return self.answer is None or self.held or self.sent_max is not None


async def apply_fault(
    fault: Fault | None, call: Call, request: Request, make: Make, random: Random
) -> Outcome:
    """The outcome. random: of this call alone. LATE and REFUSED are the endpoint's."""
    match fault:
        case None:
            return Outcome(await make(request), made=True)
        case Fault.UNPROCESSED:
            return await _unprocessed(call, request, make, random)
        case Fault.CUT_BEFORE | Fault.LATE | Fault.REFUSED:
            return Outcome(None, made=False, reset=random.random() < 0.5)
        case Fault.CUT_AFTER:
            await make(request)
            return Outcome(None, made=True, reset=random.random() < 0.5)
        case Fault.SLOW:
            return Outcome(await make(request), made=True, held=True)
        case Fault.TRUNCATED:
            return _truncated(await make(request), random)
        case Fault.MISSHAPEN:
            return Outcome(_misshapen(await make(request), random), made=True)
    made = fault is Fault.INTERNAL_ERROR and random.random() < 0.5
    if made:
        await make(request)
    return Outcome(answer_of(fault, call.operation, call.table, random), made=made)


async def _unprocessed(call: Call, request: Request, make: Make, random: Random) -> Outcome:
    """At least one request is left, all of them too; in another order than they were sent in."""
    every = [(t, r) for t, requests in call.body["RequestItems"].items() for r in requests]
    left = random.sample(range(len(every)), random.randint(1, len(every)))
    taken = [each for n, each in enumerate(every) if n not in left]
    answer = Answer.of(200, b'{"UnprocessedItems":{}}')
    if taken:
        body = {**call.body, "RequestItems": _by_table(taken)}
        answer = await make(request.with_body(json.dumps(body).encode()))
        if answer.status != 200:
            return Outcome(answer, made=False)
    said = json.loads(answer.body)
    items = [(t, r) for t, requests in said["UnprocessedItems"].items() for r in requests]
    said["UnprocessedItems"] = _by_table(items + [every[n] for n in left])
    return Outcome(answer.with_body(json.dumps(said).encode()), made=bool(taken))


def _by_table(pairs: list[tuple[str, Any]]) -> dict[str, list[Any]]:
    tables: dict[str, list[Any]] = {}
    for table, request in pairs:
        tables.setdefault(table, []).append(request)
    return tables


def _truncated(answer: Answer, random: Random) -> Outcome:
    """The connection ends within it, or something on the way has closed it off neatly."""
    cut = random.randrange(len(answer.body))
    match random.randrange(3):
        case 0:
            size = len(answer.encode())
            sent_max = random.randrange(_BEGUN_BYTES, size)
            return Outcome(answer, made=True, sent_max=sent_max, reset=random.random() < 0.5)
        case 1:  # with the checksum of the whole
            return Outcome(Answer(answer.status, answer.headers, answer.body[:cut]), made=True)
    return Outcome(answer.with_body(answer.body[:cut]), made=True)


def _misshapen(answer: Answer, random: Random) -> Answer:
    body = random.choice(MISSHAPEN)
    html = {"content-type": "text/html"} if body.startswith(b"<") else {}
    return Answer(200, {**answer.headers, **html}, b"").with_body(body)
