"""How a command that starts children ends when it is interrupted."""

import signal
import sys
from collections.abc import Callable
from types import FrameType

from local.choose import ServicesMissing

_ENDING = (signal.SIGTERM, signal.SIGHUP)


def exit_status(name: str, main: Callable[[], int]) -> int:
    """Run a command; its exit status.

    SIGTERM and SIGHUP end it as Ctrl-C does: by KeyboardInterrupt, or inside of `asyncio.run` by
    the cancellation of its task. So every `finally` and `with` runs, and children are stopped.
    An interrupted command says so in one line, and its status is 128 + the number of the signal.
    Without services it says in one line how to have them, and its status is 1.
    """
    received = signal.SIGINT

    def leave(number: int, _: FrameType | None) -> None:
        nonlocal received
        received = signal.Signals(number)
        if callable(signal.getsignal(signal.SIGINT)):
            signal.raise_signal(signal.SIGINT)
        else:  # what a shell starts in the background ignores Ctrl-C, and only that
            raise KeyboardInterrupt

    before = {number: signal.signal(number, leave) for number in _ENDING}
    try:
        return main()
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 128 + received
    except ServicesMissing as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
