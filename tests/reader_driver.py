"""Readers in other languages, as children that do what lines of JSON say."""

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.fault_proxy import FaultyEndpoint
from tests.optional import need
from tests.vector_play import Answer, is_of_table_record, normal

EXAMPLES = Path(__file__).parents[1] / "examples"
BUILT = EXAMPLES.parent / ".cache" / "readers"
#: Seconds that a build may take, with the packages that it downloads.
BUILD_S_MAX = 240.0
#: Seconds that one step may take.
STEP_S_MAX = 30.0


def typescript() -> Sequence[str]:
    """The command of the reader in TypeScript, built if need be. Skips without Node."""
    need("node", "npm")
    folder = EXAMPLES / "reader-ts"
    with _alone("typescript"):
        if not (folder / "node_modules" / ".package-lock.json").exists():
            _build(["npm", "ci", "--ignore-scripts"], folder)
        _build(["npm", "run", "--silent", "build"], folder)
    return ["node", str(folder / "dist" / "driver.js")]


def go() -> Sequence[str]:
    """The command of the reader in Go, built if need be. Skips without Go."""
    need("go")
    binary = BUILT / "go-reader"
    with _alone("go"):
        _build(["go", "build", "-o", str(binary), "./driver"], EXAMPLES / "reader-go")
    return [str(binary)]


class _alone:  # noqa: N801 - reads as a statement
    """One process at a time builds one reader."""

    def __init__(self, name: str) -> None:
        BUILT.mkdir(parents=True, exist_ok=True)
        self._lock = (BUILT / f"{name}.lock").open("w")

    def __enter__(self) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._lock.close()


def _build(command: Sequence[str], folder: Path) -> None:
    program = shutil.which(command[0])
    assert program is not None
    done = subprocess.run(
        [program, *command[1:]], cwd=folder, capture_output=True, text=True,
        timeout=BUILD_S_MAX, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"


class DriverReader:
    """A reader in a child. endpoint: between it and the table, which sees its calls."""

    def __init__(
        self, child: asyncio.subprocess.Process, endpoint: FaultyEndpoint, table: str
    ) -> None:
        self._child = child
        self._endpoint = endpoint
        self._table = table

    async def do(self, step: dict[str, Any]) -> Answer:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(step).encode() + b"\n")
        line = await asyncio.wait_for(self._child.stdout.readline(), STEP_S_MAX)
        assert line, f"the reader ended with {await self._child.wait()}"
        answer: Answer = json.loads(line)
        return {"error": True} if "error" in answer else answer

    def calls(self) -> list[Answer]:
        found = [normal(c.operation, c.body, self._table) for c in self._endpoint.called]
        self._endpoint.called.clear()
        return [call for call in found if not is_of_table_record(call)]


@asynccontextmanager
async def driver(
    command: Sequence[str], endpoint: FaultyEndpoint, table: str, now_ms: int
) -> AsyncIterator[DriverReader]:
    """A reader of a table, for as long as the block runs."""
    environment = {**os.environ, "AWS_ENDPOINT_URL_DYNAMODB": endpoint.url}
    environment["NODE_NO_WARNINGS"] = "1"  # of the SDK, about versions of Node to come
    environment["AWS_REGION"] = environment.get("AWS_DEFAULT_REGION", "us-east-1")
    child = await asyncio.create_subprocess_exec(
        *command, table, str(now_ms), env=environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield DriverReader(child, endpoint, table)
    finally:
        assert child.stdin is not None
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), STEP_S_MAX)
        except TimeoutError:
            child.kill()
            await child.wait()
