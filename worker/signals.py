"""Handles signals before Faust's handlers exist, and the one that Faust has no handler for.

It imports only what the interpreter has already loaded, because the entry point calls it first.
Without a handler, process 1 of a container ignores SIGTERM, and any other process ends with a
status that a supervisor treats as a crash.
"""

import os
import signal
from collections.abc import Sequence
from types import FrameType

#: Signals that end a worker: from a supervisor, from Ctrl-C, from a closed terminal.
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

    Nothing has started by then, so there is nothing to drain. It uses `os._exit`, because an import
    can swallow an exception that a handler raises.
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
    """Return whether a signal is ignored: `nohup` ignores SIGHUP, and a shell Ctrl-C for a
    background process."""
    return signal.getsignal(number) is signal.SIG_IGN
