"""What arrived of the messages, whoever wrote them: nobody is counted for work not done. Pure.

An item is one message, or a bundle of them. Both name the partition and the offset of each
message, so it is known which have come, and how often.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from time import time
from typing import Any

from benchmarks.instant import Counted, Counting, wire_item_bytes, written
from poste_restante.item import write_units

#: Under this name the endpoint tells of messages, beside the operations.
MESSAGES = "!messages"

Item = Mapping[str, Any]


def places(item: Item) -> Iterator[tuple[int, int]]:
    """Partition and offset of every message that an item holds, as a call carries it."""
    fields = item["position"]["S"].split(".")
    if "messages" not in item:
        yield int(fields[0]), int(fields[1])
        return
    for message in item["messages"]["L"]:
        yield int(fields[1]), int(message["M"]["o"]["N"])


class Arrivals:
    """Which messages have come. again: how many of them once more."""

    def __init__(self) -> None:
        self.again = 0
        self.messages = 0
        self._seen: dict[int, bytearray] = {}

    def add(self, items: Iterable[Item]) -> None:
        for item in items:
            for partition, offset in places(item):
                seen = self._seen.setdefault(partition, bytearray())
                if offset >= len(seen):
                    seen.extend(bytes(offset + 1_000 - len(seen)))
                self.again += seen[offset]
                self.messages += not seen[offset]
                seen[offset] = 1


class CountingArrivals(Counting):
    """The instant endpoint's count, and the messages in what was put."""

    def __init__(self) -> None:
        super().__init__()
        self.clear()

    def clear(self) -> None:
        super().clear()
        self._arrivals = Arrivals()
        self._first_at_s = self._last_at_s = 0.0

    def add(self, operation: str, body: bytes) -> None:
        if operation != "BatchWriteItem":
            super().add(operation, body)
            return
        counted = self.by_operation.setdefault(operation, Counted())
        items = list(written(operation, json.loads(body)))
        counted.calls += 1
        counted.bytes += len(body)
        counted.items += len(items)
        counted.write_units += sum(write_units(wire_item_bytes(item)) for item in items)
        self._arrivals.add(items)
        self._last_at_s = time()
        self._first_at_s = self._first_at_s or self._last_at_s

    def encode(self) -> bytes:
        arrived = {
            "messages": self._arrivals.messages, "again": self._arrivals.again,
            "seconds": self._last_at_s - self._first_at_s,
        }  # fmt: skip
        counted = {name: asdict(each) for name, each in self.by_operation.items()}
        return json.dumps({**counted, MESSAGES: arrived}).encode()
