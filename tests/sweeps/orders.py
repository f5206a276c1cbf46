"""What a patched process is ordered to do, and how it says that it did. Pure, but for two files.

The order is one JSON object in an environment variable. What was done is appended to a file, one
line each time: it must be known of a process that ended in the next instant.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

#: The variable that carries the order.
ORDER = "SWEEP_ORDER"
#: Exit status of a process that was ordered to crash: no other end has it.
CRASHED = 86


@dataclass(frozen=True, slots=True)
class Order:
    """Do `what` the `number`-th time that it is possible, counted from 1.

    what: a step; a kind of Kafka's faults, or several, separated by commas: each once, in their
    order, from the first time on. persistent: and every later time, until the file `cleared` is
    there. directory: of that file, and of the one that says what was done.
    """

    what: str
    number: int
    persistent: bool
    directory: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        return cls(**json.loads(environ[ORDER]))

    def environment(self) -> dict[str, str]:
        return {ORDER: json.dumps(asdict(self))}

    @property
    def _met(self) -> Path:
        return Path(self.directory) / "met"

    @property
    def _cleared(self) -> Path:
        return Path(self.directory) / "cleared"

    def clear_faults(self) -> None:
        self._cleared.touch()

    def is_due(self, time: int) -> bool:
        """Whether it is done this time, the `time`-th."""
        if self._cleared.exists():
            return False
        return time == self.number or (self.persistent and time > self.number)

    def meet(self, where: str) -> None:
        """It is done, in a moment."""
        file = os.open(self._met, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, f"{where}\n".encode())
        finally:
            os.close(file)

    def met(self) -> Counter[str]:
        """How often it was done, by where."""
        if not self._met.exists():
            return Counter()
        return Counter(self._met.read_text().split())


def crash_at(order: Order) -> Callable[[str], None]:
    """Ends the process at the step that is ordered."""
    times: Counter[str] = Counter()

    def passed(step: str) -> None:
        times[step] += 1
        if step == order.what and order.is_due(times[step]):
            order.meet(step)
            os._exit(CRASHED)

    return passed
