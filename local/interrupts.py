"""Interruption of commands that start children."""

import signal
import sys
from collections.abc import Callable
from types import FrameType

from local.choose import ServicesMissingError

_ENDING = (signal.SIGTERM, signal.SIGHUP)


def exit_status(name: str, main: Callable[[], int]) -> int:
    """Run a command; return its exit status.

    SIGTERM and SIGHUP end it as Ctrl-C does: by KeyboardInterrupt, or in `asyncio.run` by the
    cancellation of its task. So every `finally` and `with` runs, and children are stopped. An
    interrupted command prints one line, and its status is 128 + the signal's number. Without
    services it prints one line with the ways to have them, and its status is 1.
    """
    received = signal.SIGINT

    def leave(number: int, _: FrameType | None) -> None:
        nonlocal received
        received = signal.Signals(number)
        if callable(signal.getsignal(signal.SIGINT)):
            signal.raise_signal(signal.SIGINT)
        else:  # a shell's background job ignores only Ctrl-C
            raise KeyboardInterrupt

    before = {number: signal.signal(number, leave) for number in _ENDING}
    try:
        return main()
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 128 + received
    except ServicesMissingError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
