"""A worker whose fetch straddles every rebalance, on purpose. Run by test_straddle.py.

A fetch that begins in one assignment is held until the next one is open, and only then made: it
returns records of the new assignment, whose position it has moved.
With UNDO=0 the mechanism that takes that back is switched off.
"""

import asyncio
import os
from typing import Any

from worker.app import run
from worker.assignment import Assignment
from worker.config_file import load_settings
from worker.fetching import FetchLoop
from worker.kafka import client_thread
from worker.kafka.consumer import BatchConsumer

#: How many rebalances are straddled.
REBALANCES = 2
#: Seconds that a fetch is held at most.
HELD_S_MAX = 60.0

_fetch = client_thread.BatchConsumerThread.fetch
held: list[Assignment] = []


async def straddling(
    self: client_thread.BatchConsumerThread, partitions: set[int], **limits: Any
) -> Any:
    consumer = self.consumer
    assert isinstance(consumer, BatchConsumer)
    begun_in = consumer.current
    if begun_in.tasks and begun_in not in held and len(held) < REBALANCES:
        held.append(begun_in)
        for _ in range(int(HELD_S_MAX / 0.05)):
            current = consumer.current
            if current is not begun_in and current.tasks and not current.closed:
                print("held a fetch over a rebalance", flush=True)
                break
            await asyncio.sleep(0.05)
    return await _fetch(self, partitions, **limits)


client_thread.BatchConsumerThread.fetch = straddling  # type: ignore[method-assign]

if os.environ.pop("UNDO") == "0":

    async def nothing(self: FetchLoop, fetched: Any) -> None:
        """The positions stay where the fetch has moved them."""

    FetchLoop.undo = nothing  # type: ignore[method-assign]

run(load_settings(None, os.environ))
