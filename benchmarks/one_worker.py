"""One real worker with its default settings, on a topic and an endpoint of its own."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.services import DYNAMODB_ADDRESS, Services
from tests.services.child import Child

#: Seconds that a worker may take until it reads all its partitions, and `poste init` to its end.
_READY_S_MAX = 60.0
#: Seconds between two looks.
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Place:
    """environment: of a worker's process. topic, table: made by `poste init`."""

    environment: dict[str, str]
    topic: str
    table: str
    partitions: int


def new_place(services: Services, partitions: int) -> Place:
    """A topic and a table that nobody else uses. Raises RuntimeError."""
    unique = uuid.uuid4().hex[:8]
    place = Place(
        environment={
            **{k: v for k, v in os.environ.items() if not k.startswith("POSTE_")},
            **services.environment,
            "POSTE_KAFKA__TOPIC": f"undelivered-{unique}",
            "POSTE_KAFKA__GROUP": f"group-{unique}",
            "POSTE_DYNAMODB__TABLE": f"mailboxes-{unique}",
            "POSTE_HTTP__PORT": "0",
        },
        topic=f"undelivered-{unique}", table=f"mailboxes-{unique}", partitions=partitions,
    )  # fmt: skip
    command = [sys.executable, "-m", "worker", "init", "--replication-factor", "1"]
    made = subprocess.run(
        [*command, "--partitions", str(partitions)],
        env=place.environment, capture_output=True, text=True, check=False, timeout=_READY_S_MAX,
    )  # fmt: skip
    if made.returncode != 0:
        raise RuntimeError(f"poste init: {made.stderr.strip()}")
    return place


@contextmanager
def reading_worker(
    services: Services,
    place: Place,
    endpoint: str | None = None,
    command: Sequence[str] = ("-m", "worker", "worker"),
) -> Iterator[Child]:
    """A worker that reads all its partitions; it is stopped with the block.

    endpoint: instead of the services' own; it has one table, `mailboxes`. command: the worker's,
    for Python. Raises RuntimeError when it does not begin.
    """
    environment = dict(place.environment)
    if endpoint is not None:
        environment |= {DYNAMODB_ADDRESS: endpoint, "POSTE_DYNAMODB__TABLE": "mailboxes"}
    log = services.directory / f"{place.topic}.log"
    worker = Child([sys.executable, *command], log=log, env=environment)
    worker.start()
    try:
        deadline = time.monotonic() + _READY_S_MAX
        while worker.output().count("reading from offset") < place.partitions:
            if time.monotonic() > deadline or not worker.alive:
                raise RuntimeError(f"the worker does not begin: {worker.tail()}")
            time.sleep(_LOOK_S)
        yield worker
    finally:
        worker.stop()
