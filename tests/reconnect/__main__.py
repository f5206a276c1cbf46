"""`python -m tests.reconnect --messages 1200 --seed 7`: one run, its table, an exit status."""

import argparse
import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from local import start_services
from local.interrupts import exit_status
from tests import preloaded
from tests.deployment import Deployment, deployment_environment
from tests.reconnect.run import Settings, reconnect

_SEEDS = 1_000_000


def main() -> int:
    """0: the proven gateway is clean, and the naive one has missed something."""
    parser = argparse.ArgumentParser(prog="python -m tests.reconnect", description=__doc__)
    parser.add_argument("--messages", type=int, default=Settings.messages)
    parser.add_argument("--users", type=int, default=Settings.users)
    parser.add_argument("--kills", type=int, default=Settings.kills)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = random.randrange(_SEEDS) if given.seed is None else given.seed
    settings = Settings(seed, given.users, given.messages, given.kills)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    preloaded.server()  # in the main thread, before others ask for it
    with start_services() as services:
        os.environ.update(services.environment)
        directory = Path(tempfile.mkdtemp(prefix="reconnect-", dir=services.directory))
        unique = f"{seed}-{time.time():.0f}"
        topic, table, group = (f"{name}-{unique}" for name in ("topic", "table", "group"))
        deployment = Deployment(
            environment=deployment_environment(
                services.environment, topic=topic, table=table, group=group
            ),
            directory=directory, tool=services.tool, topic=topic, table=table, group=group,
        )  # fmt: skip
        began_s = time.monotonic()

        def say(text: str) -> None:
            print(f"{time.monotonic() - began_s:7.1f} s  {text}", flush=True)

        say(f"seed {seed}, {settings.users} users of each gateway, {settings.messages} messages")
        result = asyncio.run(reconnect(settings, deployment, say))
    say(f"{result.killed} processes were killed")
    print(result.table(), flush=True)
    print("ok" if result.ok else "FAILED", f"again: make reconnect SEED={seed}", sep="; ")
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(exit_status("make reconnect", main))
