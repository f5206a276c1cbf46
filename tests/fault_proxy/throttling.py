"""An endpoint that takes so many write units a second, whoever asks, as a provisioned table does.

DynamoDB Local never throttles. What is above the rate is refused: an item of a BatchWriteItem is
handed back as unprocessed, a call of which nothing can be taken fails (API reference,
BatchWriteItem, PutItem, UpdateItem). There is no burst capacity: a second's units are saved up
at most, where a table has up to 300 s of them (developer guide, "Burst and adaptive capacity") and
has used them up soon after a catch-up has begun.
"""

import json
import time
from collections import Counter
from typing import Any

from benchmarks.endpoint import wire_item_bytes
from poste_restante.item import write_units
from poste_restante.position import SYSTEM_PREFIX
from tests.fault_proxy.faults import Fault, answer_of
from tests.fault_proxy.plans import Call
from tests.fault_proxy.server import FaultyEndpoint
from tests.fault_proxy.wire import Answer, Request

#: Who asks, by what is asked: the worker puts bundles and moves progress, a gateway raises cursors
#: and deletes.
BUNDLES, PROGRESS, ACKS, DELETES = "bundles", "progress", "acknowledgements", "deletes"


class ThrottlingEndpoint(FaultyEndpoint):
    """units_per_s: None: nothing is refused, what is taken is counted all the same.

    asked, refused: of each kind, items put or deleted, and updates. units: taken, of each kind.
    """

    def __init__(self, upstream: str, *, units_per_s: float | None = None) -> None:
        super().__init__(upstream)
        self.asked: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.units: Counter[str] = Counter()
        self._per_s: float | None = None
        self._left, self._at_s = 0.0, 0.0
        self.limit(units_per_s)

    def limit(self, units_per_s: float | None) -> None:
        """From the next call on; with a second's units to begin with."""
        self._per_s = units_per_s
        self._left, self._at_s = units_per_s or 0.0, time.monotonic()

    def _takes(self, kind: str, units: int) -> bool:
        """Whether one item is taken: while anything is left, whatever it costs."""
        self.asked[kind] += 1
        if self._per_s is not None:
            now_s = time.monotonic()
            earned = (now_s - self._at_s) * self._per_s
            self._left, self._at_s = min(self._per_s, self._left + earned), now_s
            if self._left < 1:
                self.refused[kind] += 1
                return False
            self._left -= units
        self.units[kind] += units
        return True

    async def _make(self, call: Call, request: Request) -> Answer:
        if call.operation == "BatchWriteItem":
            return await self._batch(call, request)
        if call.operation in {"UpdateItem", "PutItem"}:
            key = call.body.get("Key") or call.body["Item"]
            kind = PROGRESS if key["user_id"]["S"].startswith(SYSTEM_PREFIX) else ACKS
            if not self._takes(kind, 1):  # what is updated is never above 1 KB
                return self._refusal(call)
        return await super()._make(call, request)

    async def _batch(self, call: Call, request: Request) -> Answer:
        ((table, requests),) = call.body["RequestItems"].items()
        taken: list[Any] = []
        left: list[Any] = []
        for one in requests:
            (taken if self._takes(*_cost(one)) else left).append(one)
        if not taken:
            return self._refusal(call)
        if not left:
            return await super()._make(call, request)
        body = json.dumps({**call.body, "RequestItems": {table: taken}}).encode()
        answer = await super()._make(call, request.with_body(body))
        if answer.status != 200:
            return answer
        found = json.loads(answer.body)
        found["UnprocessedItems"] = {table: left}
        return answer.with_body(json.dumps(found).encode())

    def _refusal(self, call: Call) -> Answer:
        from random import Random

        return answer_of(
            Fault.PROVISIONED_THROUGHPUT, call.operation, call.table, Random(call.number)
        )


def _cost(request: dict[str, Any]) -> tuple[str, int]:
    """Whose an item of a call is, and its units. What a delete removes is not known here: 1."""
    if "PutRequest" in request:
        return BUNDLES, write_units(wire_item_bytes(request["PutRequest"]["Item"]))
    return DELETES, 1
