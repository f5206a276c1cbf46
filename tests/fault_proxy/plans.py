"""Plans: which calls meet which fault. The same plan on the same calls decides the same."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from tests.fault_proxy.faults import BATCH_WRITE, BATCHES_ONLY, Fault


@dataclass(frozen=True)
class Call:
    """One call to an endpoint. number: from 1, in the order in which they came. raw: its body."""

    number: int
    operation: str
    raw: bytes

    @cached_property
    def body(self) -> dict[str, Any]:
        """The request, decoded; empty where it is none."""
        decoded = json.loads(self.raw or b"{}")
        return decoded if isinstance(decoded, dict) else {}

    @property
    def table(self) -> str:
        """The table it is about."""
        if self.operation.startswith("Batch"):
            return next(iter(self.body.get("RequestItems", {})), "")
        return str(self.body.get("TableName", ""))

    def puts(self) -> list[dict[str, Any]]:
        """The items that it puts, in DynamoDB JSON."""
        if self.operation == "PutItem":
            return [self.body["Item"]]
        if self.operation != BATCH_WRITE:
            return []
        return [
            request["PutRequest"]["Item"]
            for requests in self.body["RequestItems"].values()
            for request in requests
            if "PutRequest" in request
        ]


#: The fault of a call; None: none. Asked once for every call, in their order.
Plan = Callable[[Call], Fault | None]


def can_apply(fault: Fault, operation: str) -> bool:
    """A plan that says otherwise is not followed, and nothing is counted."""
    return fault not in BATCHES_ONLY or operation == BATCH_WRITE


def calm() -> Plan:
    """No call meets a fault."""
    return lambda _: None


def nth(
    fault: Fault,
    number: int,
    *,
    persistent: bool = False,
    operations: Collection[str] | None = None,
) -> Plan:
    """The number-th (from 1) of the calls of these operations that the plan is asked about.

    persistent: that one and all after it. operations: None: all.
    """
    asked = 0

    def plan(call: Call) -> Fault | None:
        nonlocal asked
        if operations is not None and call.operation not in operations:
            return None
        asked += 1
        return fault if asked == number or (persistent and asked > number) else None

    return plan


def rates(
    shares: Mapping[Fault, float], *, seed: int, operations: Collection[str] | None = None
) -> Plan:
    """Each fault meets its share of the calls; the seed and the call's number decide which.

    shares: of 1, together at most 1. A fault that does not apply to an operation is left out there.
    """
    if sum(shares.values()) > 1 + 1e-9:
        raise ValueError(f"shares of {sum(shares.values())}")

    def plan(call: Call) -> Fault | None:
        if operations is not None and call.operation not in operations:
            return None
        drawn = Random(f"{seed}/{call.number}").random()
        for fault, share in shares.items():
            drawn -= share
            if drawn < 0:
                return fault
        return None

    return plan
