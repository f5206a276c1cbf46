"""`make run`: the services, `poste init`, and one worker in the foreground. Ctrl-C ends all."""

import os
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import NoReturn

from local.child import die_with
from local.choose import (
    Services,
    ServicesMissingError,
    given_addresses,
    start_services,
)

_POSTE = Path(sys.executable).with_name("poste")


def main() -> int:
    """Return the worker's exit status, or 1, with one line, without services."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit_on_signal)
    try:
        given = given_addresses(os.environ)
        for name, address in given.items():
            print(f"{name} is given: {address}", flush=True)
        if len(given) < 2:
            print(
                "starting the services (the first time brings their jars or images) ...", flush=True
            )
        with start_services() as services:
            return _run(services)
    except (ServicesMissingError, RuntimeError) as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _exit_on_signal(number: int, _: object) -> NoReturn:
    """Exit after a signal, so that everything started is stopped."""
    sys.exit(128 + number)


def _run(services: Services) -> int:
    environment = {**os.environ, **services.environment}
    made = subprocess.run(
        [_POSTE, "init", "--partitions", "4", "--replication-factor", "1"],
        env=environment,
        check=False,
    )
    if made.returncode != 0:
        return made.returncode
    print(_instructions(services.environment), flush=True)
    return _foreground(environment)


def _instructions(environment: dict[str, str]) -> str:
    exports = "\n".join(
        f"    export {name}={shlex.quote(value)}" for name, value in environment.items()
    )
    poste = ".venv/bin/poste"
    return f"""
In a second terminal, in this folder, paste:

{exports}
    {poste} send bob "see you at eight"
    {poste} fetch bob
    {poste} ack bob RECEIPT      # the receipt that fetch printed
    {poste} fetch bob            # nothing is left, and nothing comes back

One worker runs here. Ctrl-C stops it, and everything that was started.
"""


def _foreground(environment: dict[str, str]) -> int:
    # Ctrl-C goes to the whole foreground group: the worker drains, and we wait for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = subprocess.Popen(
        [_POSTE, "worker"],
        env=environment,
        preexec_fn=partial(_prepare_worker, os.getpid()),  # noqa: PLW1509 - it takes no lock
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: worker.send_signal(signal.SIGTERM))
    status = worker.wait()
    return status if status >= 0 else 128 - status


def _prepare_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with(parent)


if __name__ == "__main__":
    sys.exit(main())
