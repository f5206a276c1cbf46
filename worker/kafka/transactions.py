"""Detects partitions that an open transaction holds back, and says how to abort it.

A consumer of committed records reads up to the stable end: the first offset of the oldest open
transaction. All records behind it wait, plain ones too. A producer that died in a transaction holds
its partitions until the coordinator aborts it (`transaction.timeout.ms`).
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker.logging_config import event
from worker.readiness import ReadinessNote
from worker.resume import LogState

logger = logging.getLogger(__name__)

#: Seconds until a partition that is still held back is logged again.
REPEAT_S = 600.0


def how_to_abort(brokers: str, topic: str, partition: int, stable_end: int) -> str:
    """Return how an operator finds and aborts the open transaction of a partition.

    Source: Apache Kafka's `kafka-transactions.sh` (KIP-664). The transaction's first offset, which
    is the stable end, identifies it.
    """
    tool, where = (
        f"kafka-transactions.sh --bootstrap-server {brokers}",
        f"--topic {topic} --partition {partition}",
    )
    return (
        f"find its producer with `{tool} describe-producers {where}`; where that is dead, abort"
        f" the transaction with `{tool} abort {where} --start-offset {stable_end}`"
    )


@dataclass(slots=True)
class _HeldBack:
    """A partition whose stable end is below its end. times: of `clock`, seconds."""

    log: LogState
    since_s: float
    warned_at_s: float | None = None


class OpenTransactions:
    """Watches the stable ends of partitions.

    It warns about one that stays below the partition's end for `warn_s` seconds without moving; one
    that moves belongs to a topic at work, however far it is behind. brokers, topic: as the
    operator's commands name them. clock: seconds, as `time.monotonic`.
    """

    def __init__(
        self,
        *,
        brokers: str,
        topic: str,
        warn_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._brokers = brokers
        self._topic = topic
        self._warn_s = warn_s
        self._clock = clock
        self._held_back: dict[int, _HeldBack] = {}

    def judge(self, states: Mapping[int, LogState]) -> None:
        """Judge the partitions as they are now, and log lasting cases. Others are forgotten."""
        now_s = self._clock()
        for partition, before in list(self._held_back.items()):
            state = states.get(partition)
            if state is None or state.held_back == 0 or state.stable_end != before.log.stable_end:
                del self._held_back[partition]
                if before.warned_at_s is not None and state is not None:
                    self._say_moved(partition, state)
        for partition, state in states.items():
            if state.held_back:
                held = self._held_back.setdefault(partition, _HeldBack(state, now_s))
                held.log = state
                self._say_held_back(partition, held, now_s)

    def notes(self) -> tuple[ReadinessNote, ...]:
        """Return the notes of `/readyz` on partitions with a warning."""
        now_s = self._clock()
        return tuple(
            ReadinessNote("open_transaction", self._text(partition, held, now_s), partition)
            for partition, held in sorted(self._held_back.items())
            if held.warned_at_s is not None
        )

    def held_back_s(self) -> dict[int, float]:
        """Return the seconds for which each held-back partition's stable end has not moved."""
        now_s = self._clock()
        return {p: now_s - held.since_s for p, held in self._held_back.items()}

    def _say_held_back(self, partition: int, held: _HeldBack, now_s: float) -> None:
        warned_s, seconds = held.warned_at_s, now_s - held.since_s
        if seconds < self._warn_s or (warned_s is not None and now_s - warned_s < REPEAT_S):
            return
        held.warned_at_s = now_s
        logger.warning(
            "%s", self._text(partition, held, now_s),
            extra=event(
                "transaction_open", partition=partition, offset=held.log.stable_end,
                count=held.log.held_back, seconds=round(seconds),
            ),
        )  # fmt: skip

    def _text(self, partition: int, held: _HeldBack, now_s: float) -> str:
        log = held.log
        return (
            f"partition {partition}: an open transaction has held back its {log.held_back} offsets"
            f" from {log.stable_end} on for {now_s - held.since_s:.0f} s;"
            f" {how_to_abort(self._brokers, self._topic, partition, log.stable_end)}"
        )

    def _say_moved(self, partition: int, state: LogState) -> None:
        logger.info(
            "partition %d: the transaction that held it back has ended; it can be read to offset"
            " %d", partition, state.stable_end,
            extra=event("transaction_ended", partition=partition, offset=state.stable_end),
        )  # fmt: skip
