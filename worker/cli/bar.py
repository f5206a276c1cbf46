"""A progress bar on standard error, where that is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ProgressBar:
    """Shows the progress of a command. Without a display it does nothing."""

    def __init__(self, display: "Progress | None" = None, label: str = "") -> None:
        self._display = display
        self._label = label
        self._task: TaskID | None = None

    def begin(self, total: int) -> None:
        """Show the bar. total: in the units of `advance`."""
        if self._display is not None:
            self._task = self._display.add_task(self._label, total=total)

    def advance(self, count: int) -> None:
        if self._display is not None and self._task is not None:
            self._display.advance(self._task, count)


@contextmanager
def progress_bar(label: str) -> Iterator[ProgressBar]:
    """Show a bar for the block, on a terminal only. Standard output is for results."""
    if not sys.stderr.isatty():
        yield ProgressBar()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        yield ProgressBar(display, label)
