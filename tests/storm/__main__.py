"""`python -m tests.storm --seconds 600 --seed 7`: one storm, its line, an exit status."""

import argparse
import asyncio
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from local.choose import LOCAL_AWS
from local.interrupts import exit_status
from tests import preloaded
from tests.storm.run import Settings, storm
from tests.storm.services import own_services

#: Seeds that are drawn where none is given.
_SEEDS = 1_000_000


def main() -> int:
    """0: clean, drained, and for a whole storm every event and fault met."""
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", action="store_true", help="keep the directory in any case")
    given = parser.parse_args()
    seed = random.randrange(_SEEDS) if given.seed is None else given.seed
    directory = Path(tempfile.mkdtemp(prefix="poste-storm-"))
    began_s = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began_s:7.1f} s  {text}", flush=True)

    say(f"seed {seed}, {given.seconds:.0f} s")
    report = None
    os.environ.update(LOCAL_AWS)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # brokers are away all the time
    try:
        settings = Settings(seed=seed, seconds=given.seconds)
        preloaded.server()  # in the main thread, before others ask for it
        with own_services(directory) as services:
            report = asyncio.run(storm(settings, directory, say, services))
    finally:
        if report is not None and report.ok and not given.keep:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            say(f"the workers' logs are in {directory}")
            say(f"again: make storm SECONDS={given.seconds:.0f} SEED={seed}")
    print(report.line(), flush=True)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(exit_status("make storm", main))
