"""A storm of reconnects through one gateway process, with the defaults of `open_mailboxes`."""

import json
import subprocess
import sys
from typing import Any

from benchmarks.process import cpu_s
from benchmarks.reading.mail import bundles, create, messages, write
from benchmarks.reading.prepared import PAGE_MESSAGES

TABLE = "storm"
#: Seconds that one may take: ten thousand users in some 30 s, on a machine that does other work.
_STORM_S_MAX = 170.0


async def fill(users: int) -> None:
    """A bundle for each."""
    await create(TABLE)
    await write(
        TABLE,
        (
            bundle
            for n in range(users)
            for bundle in bundles(messages(f"user-{n}", n * PAGE_MESSAGES, PAGE_MESSAGES))
        ),
    )


def measure(store: str, pid: int | None, users: int) -> dict[str, Any]:
    """What became of it. pid: the store's process, of which it is said how busy it was.

    Raises RuntimeError where a user got an error.
    """
    before = None if pid is None else cpu_s(pid)
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.reading.gateway", str(users)],
        capture_output=True, text=True, check=False, timeout=_STORM_S_MAX,
    )  # fmt: skip
    if ran.returncode != 0:
        raise RuntimeError(f"the gateway ended: {ran.stderr.strip().splitlines()[-1:]}")
    found: dict[str, Any] = json.loads(ran.stdout)
    if found["errors"]:
        raise RuntimeError(f"users got errors in the storm: {found['errors']}")
    if pid is not None and before is not None:
        found["store_busy"] = round((cpu_s(pid) - before) / found["wall_s"], 3)
    return {"store": store, **found}
