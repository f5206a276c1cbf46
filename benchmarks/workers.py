"""Real workers for the benchmarks: each with a topic of its own and an endpoint in its store's
place."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from local import DYNAMODB_ADDRESS, Services
from local.child import Child

#: Seconds that a worker may take until it reads all its partitions, and `poste init` to its end.
_READY_S_MAX = 60.0
_LOOK_S = 0.1
WORKER = (sys.executable, "-m", "worker", "worker")


@dataclass(frozen=True, slots=True)
class Deployment:
    """A topic that `poste init` has created, and where a process finds both services.

    The table's name is the one that a recording endpoint has.
    """

    services: Services
    topic: str
    partitions: int
    settings: Mapping[str, str] = field(default_factory=dict)

    def environment(self, endpoint: str, group: str) -> dict[str, str]:
        """Of a process that writes to this endpoint and reads as this group."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("POSTE_")},
            **self.services.environment,
            DYNAMODB_ADDRESS: endpoint,
            "POSTE_KAFKA__TOPIC": self.topic,
            "POSTE_KAFKA__GROUP": group,
            "POSTE_DYNAMODB__TABLE": "mailboxes",
            "POSTE_HTTP__PORT": "0",
            **self.settings,
        }


def new_deployment(
    services: Services, partitions: int, settings: Mapping[str, str] | None = None
) -> Deployment:
    """A topic that nothing else uses. settings: of its workers. Raises RuntimeError."""
    unique = uuid.uuid4().hex[:8]
    made = Deployment(services, f"undelivered-{unique}", partitions, settings or {})
    environment = made.environment(services.endpoint, made.topic)
    done = subprocess.run(
        [sys.executable, "-m", "worker", "init", "--replication-factor", "1",
         "--partitions", str(partitions)],
        env={**environment, "POSTE_DYNAMODB__TABLE": f"mailboxes-{unique}"},
        capture_output=True, text=True, check=False, timeout=_READY_S_MAX,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"poste init: {done.stderr.strip()}")
    return made


def child(deployment: Deployment, endpoint: str, group: str, contender: str = "worker") -> Child:
    """A process that is not started: this worker, or the plain script."""
    command = list(WORKER)
    if contender == "plain":
        command = [sys.executable, "-m", "benchmarks.plain", deployment.services.bootstrap,
                   deployment.topic, group, "mailboxes"]  # fmt: skip
    log = deployment.services.directory / f"{group}.log"
    return Child(command, log=log, env=deployment.environment(endpoint, group))


@contextmanager
def running_worker(deployment: Deployment, endpoint: str) -> Iterator[Child]:
    """A worker that reads all its partitions, stopped with the block. Raises RuntimeError where it
    does not begin."""
    worker = child(deployment, endpoint, f"group-{deployment.topic}")
    worker.start()
    try:
        deadline = time.monotonic() + _READY_S_MAX
        while worker.output().count("reading from offset") < deployment.partitions:
            if time.monotonic() > deadline or not worker.alive:
                raise RuntimeError(f"the worker does not begin: {worker.tail()}")
            time.sleep(_LOOK_S)
        yield worker
    finally:
        worker.stop()
