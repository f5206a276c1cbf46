"""A worker that stalls, on purpose. Run by test_stalled.py.

STALL names what hangs: `flush`, `fetch`, or `loop`, the event loop.
"""

import asyncio
import os
import time
from typing import Any

from worker.app import run
from worker.config_file import load_settings
from worker.flush import Flusher
from worker.kafka import client_thread

#: Longer than any test waits; what blocks the loop cannot be cancelled.
_FOR_S = 3600.0


async def hang(*_: Any, **__: Any) -> Any:
    """Nothing ever comes of it."""
    await asyncio.sleep(_FOR_S)


async def block(*_: Any, **__: Any) -> Any:
    """As a decoder does that never returns."""
    time.sleep(_FOR_S)  # noqa: ASYNC251 - on purpose


STALLS: dict[str, tuple[type, str, Any]] = {
    "flush": (Flusher, "flush", hang),
    "fetch": (client_thread.BatchConsumerThread, "fetch", hang),
    "loop": (Flusher, "flush", block),
}

setattr(*STALLS[os.environ.pop("STALL")])
run(load_settings(None, os.environ))
