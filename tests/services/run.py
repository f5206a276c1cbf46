"""`make run`: the services, `poste init`, and one worker in the foreground. Ctrl-C ends all."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from tests.services.choose import ServicesMissing, start_services

_POSTE = Path(sys.executable).with_name("poste")


def main() -> int:
    """Exit status of the worker, or 1 with one line when the services cannot be had."""
    print("starting Kafka and DynamoDB (the first time brings their jars) ...", flush=True)
    try:
        services = start_services()
    except (ServicesMissing, RuntimeError) as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    with services:
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
    # Ctrl-C goes to the whole foreground group: the worker drains on its own, we wait for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: worker.send_signal(signal.SIGTERM))
    worker = subprocess.Popen(
        [_POSTE, "worker"],
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    return worker.wait()


if __name__ == "__main__":
    sys.exit(main())
