"""Counts and logs dead letters with their reasons and offsets.

It logs neither keys nor bodies, which are in the dead-letter topic.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from worker.dead_letters import DeadLetter
from worker.errors import DeadLetterReason
from worker.logging_config import event

logger = logging.getLogger(__name__)

#: Seconds between two log lines about one partition's dead letters. Those in between are summed and
#: logged later, so that a bad producer does not fill a disk and none is omitted.
LOG_EVERY_S = 10.0


class _Tally:
    """The unlogged dead letters of one partition."""

    def __init__(self) -> None:
        self.reasons: Counter[DeadLetterReason] = Counter()
        self.offsets: tuple[int, int] | None = None
        self.flushes = 0

    def add(self, letters: Sequence[DeadLetter]) -> None:
        self.flushes += 1
        self.reasons.update(letter.reason for letter in letters)
        known = self.offsets or ()
        offsets = [*known, *(letter.record.offset for letter in letters)]
        self.offsets = min(offsets), max(offsets)


def _call_later(delay_s: float, call: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(delay_s, call)


class DeadLetterReport:
    """Counts the dead letters of this process and logs them: one WARNING per flush with dead
    letters, at most one per partition in LOG_EVERY_S, with later ones summed.

    counts: acknowledged dead letters, by partition and reason, since the start of the process. A
    replay counts them again. clock: seconds, as `time.monotonic`. later: as `loop.call_later`; by
    default the running loop's.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], object] = _call_later,
    ) -> None:
        self.counts: Counter[tuple[int, DeadLetterReason]] = Counter()
        self._clock = clock
        self._call_later = later
        self._logged_at_s: dict[int, float] = {}
        self._unlogged: dict[int, _Tally] = {}

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Add the dead letters of one flush: at least one, of one partition, all acknowledged."""
        partition = letters[0].record.partition
        self.counts.update((partition, letter.reason) for letter in letters)
        is_waiting = partition in self._unlogged
        self._unlogged.setdefault(partition, _Tally()).add(letters)
        if is_waiting:
            return
        logged_at_s = self._logged_at_s.get(partition)
        left_s = 0.0 if logged_at_s is None else logged_at_s + LOG_EVERY_S - self._clock()
        if left_s > 0:
            self._call_later(left_s, partial(self._log, partition))
        else:
            self._log(partition)

    def log_rest(self) -> None:
        """Log the unlogged ones at the end of the process."""
        for partition in sorted(self._unlogged):
            self._log(partition)

    def _log(self, partition: int) -> None:
        tally = self._unlogged.pop(partition, None)
        if tally is None or tally.offsets is None:
            return
        self._logged_at_s[partition] = self._clock()
        reasons = {str(reason): count for reason, count in tally.reasons.most_common()}
        first, last = tally.offsets
        logger.warning(
            "partition %d: dead letters: %d (%s), offsets %d to %d",
            partition, tally.reasons.total(), _format_reasons(reasons), first, last,
            extra=event(
                "dead_letters_sent", partition=partition, count=tally.reasons.total(),
                reasons=reasons, offset=first, last_offset=last, flushes=tally.flushes,
            ),
        )  # fmt: skip


def _format_reasons(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in reasons.items())
