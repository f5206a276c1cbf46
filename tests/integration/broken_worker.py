"""A worker with one rule left out, named by BROKEN. Run by
test_auditor_controls.py.

Each breach is one that a worker of this kind could have by mistake, made from outside: the product
has no switch for it.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from poste_restante import position
from poste_restante.position import LogId
from worker import bundles, flush, resume
from worker.app import run
from worker.config_file import load_settings
from worker.dynamodb import puts
from worker.entry import Entry
from worker.flush import Flushed, Flusher
from worker.record import Record

_flush = Flusher.flush
_pack = bundles.pack
#: Flushes that nobody waits for, kept from the garbage collector.
_behind: set[asyncio.Task[Flushed]] = set()


def commit_before_write() -> None:
    """A batch counts as durable when its writing has begun."""

    async def early(
        self: Flusher,
        records: Sequence[Record],
        *,
        epoch: int,
        consecutive_dead_letters: int,
        **_: object,
    ) -> Flushed:
        writing = _flush(
            self, records, epoch=epoch, consecutive_dead_letters=consecutive_dead_letters
        )
        _behind.add(asyncio.ensure_future(writing))
        return Flushed(messages=len(records), dead_letters=0, consecutive_dead_letters=0)

    Flusher.flush = early  # type: ignore[method-assign]


def unprocessed_dropped() -> None:
    """What BatchWriteItem hands back counts as written."""

    puts.left_over = lambda *_: frozenset()


def waves_together() -> None:
    """A wave is sent before the one ahead of it is durable: all are one."""

    def together(
        entries: Iterable[Entry], log: LogId, limits: bundles.BundleLimits
    ) -> list[list[bundles.Bundle]]:
        return [[bundle for wave in _pack(entries, log, limits) for bundle in wave]]

    flush.pack = together  # type: ignore[attr-defined]


def on_after_a_failure() -> None:
    """A flush that failed counts as done, and the next one begins."""

    async def shrugged(self: Flusher, *arguments: Any, **named: Any) -> Flushed:
        try:
            return await _flush(self, *arguments, **named)
        except Exception:
            return Flushed(messages=0, dead_letters=0, consecutive_dead_letters=0)

    Flusher.flush = shrugged  # type: ignore[method-assign]


def bundles_across_borders() -> None:
    """A bundle holds whatever one flush has of a mailbox."""
    bundles.window_end = lambda offset: position.OFFSET_MAX  # type: ignore[attr-defined]
    position.window_start = lambda offset: 0


def start_between_borders() -> None:
    """A lower start is taken as it is, not rounded down to a window border."""
    resume.rounded_down = lambda wanted, progress, log: wanted


BREACHES: tuple[Callable[[], None], ...] = (
    commit_before_write,
    unprocessed_dropped,
    waves_together,
    on_after_a_failure,
    bundles_across_borders,
    start_between_borders,
)

if __name__ == "__main__":
    {breach.__name__: breach for breach in BREACHES}[os.environ.pop("BROKEN")]()
    run(load_settings(None, os.environ))
