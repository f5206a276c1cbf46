"""The read path: what a fetch and an acknowledgement cost, and a storm of reconnects.

    python -m benchmarks reading [--small]

On DynamoDB Local, whose tables the worker's own writer fills, for times, read units and Queries;
and against an endpoint that answers at once, for the gateway's own processor time.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.reading import acknowledging, fetching, processor, storm
from benchmarks.reading.page import PICTURES, TABLES
from benchmarks.reading.prepared import prepared_endpoint
from tests.services import DYNAMODB_ADDRESS, new_dynamodb
from tests.services.choose import LOCAL_AWS

__all__ = ["PICTURES", "TABLES", "measure"]

FULL: dict[str, Any] = {
    "tables": [1_000, 10_000, 100_000, 1_000_000], "mailboxes": [0, 1, 10, 1_000],
    "deep": 100_000, "fetches": 200, "sizes": [0, 1, 10, 100, 1_000], "messages": 10_000,
    "rounds": 5, "bundles": [1, 10, 100, 1_000], "acks": 1_000, "users": 10_000,
}  # fmt: skip
SMALL: dict[str, Any] = {
    "tables": [1_000, 10_000], "mailboxes": [0, 1, 10, 1_000],
    "deep": 3_000, "fetches": 20, "sizes": [0, 10, 1_000], "messages": 1_000,
    "rounds": 2, "bundles": [1, 10, 100], "acks": 100, "users": 300,
}  # fmt: skip


def measure(*, small: bool) -> dict[str, Any]:
    sizes = SMALL if small else FULL
    found: dict[str, Any] = {"storm": []}
    with patch.dict(os.environ, LOCAL_AWS):
        with prepared_endpoint() as endpoint:
            os.environ[DYNAMODB_ADDRESS] = endpoint.address
            _say("processor time, against an endpoint that answers at once")
            found |= asyncio.run(processor.measure(endpoint.address, sizes))
            found["storm"].append(storm.measure("at once", endpoint.pid, sizes["users"]))
        with tempfile.TemporaryDirectory(prefix="reading-") as directory:
            service = new_dynamodb(Path(directory))
            service.start()
            try:
                os.environ[DYNAMODB_ADDRESS] = service.endpoint
                _say("DynamoDB Local: fetches")
                found["fetch"] = asyncio.run(fetching.measure(sizes))
                _say("DynamoDB Local: acknowledgements")
                found["ack"] = asyncio.run(acknowledging.measure(sizes))
                _say("DynamoDB Local: a storm of reconnects")
                asyncio.run(storm.fill(sizes["users"]))
                pid = getattr(service, "pid", None)  # a container hides it
                found["storm"].append(storm.measure("DynamoDB Local", pid, sizes["users"]))
            finally:
                service.stop()
    return found


def _say(what: str) -> None:
    print(f"  {what} ...", file=sys.stderr, flush=True)
