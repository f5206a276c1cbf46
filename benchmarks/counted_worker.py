"""A worker that counts what it asks of Kafka's brokers: a file of its environment's name.

The counts, by the name of the request, are written when SIGRTMIN comes, and only then: SIGUSR1 and
SIGUSR2 are taken by mode, under Faust.
"""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from aiokafka.conn import AIOKafkaConnection

from worker.cli import main

#: Names the file.
FILE = "POSTE_BENCHMARK_REQUESTS"


def count(file: Path) -> None:
    """From here on, in this process."""
    counts: Counter[str] = Counter()
    send = AIOKafkaConnection.send

    def counted(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        counts[type(request).__name__] += 1
        return send(self, request, *args, **kwargs)

    def write(_number: int, _frame: object) -> None:
        whole = file.with_suffix(".new")
        whole.write_text(json.dumps(counts))
        whole.rename(file)

    AIOKafkaConnection.send = counted
    signal.signal(signal.SIGRTMIN, write)


if __name__ == "__main__":
    count(Path(os.environ.pop(FILE)))
    sys.argv = ["poste", "worker"]
    main()
