"""Signals before Faust's handlers are there, and the one that Faust has none for.

It imports nothing but what the interpreter has loaded: the entry point calls it before everything
else. Without a handler of its own, process 1 of a container ignores SIGTERM, and any other process
ends with a status that a supervisor takes for a crash.
"""

import os
import signal
from collections.abc import Sequence
from types import FrameType

#: Signals that end a worker: of a supervisor, of Ctrl-C, of a terminal that goes away.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def is_worker(arguments: Sequence[str]) -> bool:
    """Return whether the arguments of `poste` start a worker: `poste [--config FILE] worker`.

    Other commands keep the default: a command that did not finish must not report success.
    """
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        rest = rest[2:] if rest[0] == "--config" else rest[1:]
    return bool(rest) and rest[0] == "worker"


def end_at_once() -> None:
    """End the process with status 0 on a signal, until Faust installs its handlers.

    Nothing has been started by then, so there is nothing to drain. `os._exit`, because an exception
    out of a handler can be lost in the middle of an import.
    """
    for number in ENDING:
        if not _is_ignored(number):
            signal.signal(number, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)


def hang_up_as_terminate() -> None:
    """Drain on SIGHUP as on SIGTERM. Called in the main thread when SIGTERM has its handler."""
    if not _is_ignored(signal.SIGHUP):
        signal.signal(signal.SIGHUP, lambda _number, _frame: signal.raise_signal(signal.SIGTERM))


def _is_ignored(number: int) -> bool:
    """`nohup` ignores SIGHUP, and a shell the Ctrl-C for what it runs in the background."""
    return signal.getsignal(number) is signal.SIG_IGN
