"""The model of freshness: no history makes a wrong proof; each rule left out is noticed (G11)."""

import asyncio
import os
import random as randomness
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from poste_restante import claims, claims_reader
from poste_restante.claims import Freshness, WorkerClaims
from tests.model.freshness_world import SKEW_MS, FreshnessWorld, Log, Rules
from tests.model.ledger import Violation
from worker.assignment import PartitionTask
from worker.freshness import FreshnessTracker

TIMES = int(os.environ.get("MODEL_TIMES", "1"))
SEEDS = 60 * TIMES
#: Histories within which a rule that is left out must be noticed, from the first seed on.
SEEDS_TO_NOTICE = 400
#: Shortly before one that notices it, of those that are rarely noticed: for speed alone.
FIRST_SEED = {"the mailbox before the claims": 390, "claims_of_another_epoch_count": 225}
STEPS = 250


def play(seed: int, rules: Rules) -> int:
    """One history. Returns how many proofs it made. Raises Violation."""

    async def history() -> int:
        world = FreshnessWorld(randomness.Random(seed), rules)
        await world.run(STEPS)
        return world.proofs

    return asyncio.run(history())


def test_no_history_makes_a_wrong_proof() -> None:
    proofs = sum(play(seed, Rules()) for seed in range(SEEDS))
    assert proofs > SEEDS  # the histories are about something


class FollowersEnd(Rules):
    def end(self, log: Log) -> int:
        return log.follower


class StableEnd(Rules):
    def end(self, log: Log) -> int:
        return log.stable


class AnyPosition(Rules):
    position_in_flight = True


class SameClocks(Rules):
    clock_skew_s = 0.0


class MailboxFirst(Rules):
    claims_first = False


@contextmanager
def claims_before_all_is_durable() -> Iterator[None]:
    def reached(task: PartitionTask, position: int) -> int:
        return max(task.fetched, position)

    with patch.object(PartitionTask, "durable_below", reached):
        yield


@contextmanager
def claims_of_flushes_that_failed() -> Iterator[None]:
    """And of assignments that have ended: of records that nobody writes any more."""
    look = FreshnessTracker.claim_reached

    def unconcerned(tracker: FreshnessTracker, assignment: Any, positions: Any = None) -> set[int]:
        broken, assignment.broken = assignment.broken, None
        with patch.object(PartitionTask, "oldest", None) if broken else nullcontext():
            found = look(tracker, assignment, positions)
        assignment.broken = broken
        return found

    with patch.object(FreshnessTracker, "claim_reached", unconcerned):
        yield


def _as_of(agree: Callable[[list[int]], int], *, of_all: bool) -> AbstractContextManager[Any]:
    def as_of_ms(self: Freshness, partitions: Any) -> int | None:
        found = [self.claims[p].as_of_ms for p in partitions if p in self.claims]
        if not found or (of_all and len(found) < len(partitions)):
            return None
        return agree(found)

    return patch.object(Freshness, "as_of_ms", as_of_ms)


@contextmanager
def the_greatest_partition_counts() -> Iterator[None]:
    with _as_of(max, of_all=True):
        yield


@contextmanager
def a_partition_that_nobody_claims_counts_for_nothing() -> Iterator[None]:
    with _as_of(min, of_all=False):
        yield


@contextmanager
def claims_of_another_epoch_count() -> Iterator[None]:
    combine = claims.combine

    def of_any(items: Any, record: Any, **more: Any) -> Freshness:
        renamed = [
            replace(WorkerClaims.decode(item), epoch=record.epoch).encode(0) for item in items
        ]
        return combine(renamed, record, **more)

    with patch.object(claims_reader, "combine", of_any):
        yield


@contextmanager
def partitions_that_were_added_do_not_count() -> Iterator[None]:
    combine = claims.combine

    def as_at_first(items: Any, record: Any, **more: Any) -> Freshness:
        found = combine(items, record, **more)
        return replace(found, partitions=record.partitions)

    with patch.object(claims_reader, "combine", as_at_first):
        yield


@contextmanager
def a_partitioner_is_asked_for_the_present_number_alone() -> Iterator[None]:
    def only_now(self: Freshness, user_id: str, partitioner: Any) -> Any:
        if partitioner is None:
            return range(self.partitions)
        return (partitioner(user_id.encode(), self.partitions),)

    with patch.object(Freshness, "partitions_of", only_now):
        yield


#: By name: the played rules, and what is patched.
LEFT_OUT: Mapping[str, tuple[Rules, Callable[[], AbstractContextManager[None]]]] = {
    "a follower's end": (FollowersEnd(), nullcontext),
    "the stable end": (StableEnd(), nullcontext),
    "a position while records are in flight": (AnyPosition(), nullcontext),
    "clocks that are taken to be the same": (SameClocks(), nullcontext),
    "the mailbox before the claims": (MailboxFirst(), nullcontext),
    **{
        rule.__name__: (Rules(), rule)
        for rule in (
            claims_before_all_is_durable,
            claims_of_flushes_that_failed,
            the_greatest_partition_counts,
            a_partition_that_nobody_claims_counts_for_nothing,
            claims_of_another_epoch_count,
            partitions_that_were_added_do_not_count,
            a_partitioner_is_asked_for_the_present_number_alone,
        )
    },
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_the_model_notices_a_missing_rule(name: str) -> None:
    rules, left_out = LEFT_OUT[name]
    with left_out():
        first = FIRST_SEED.get(name, 0)
        for seed in range(first, first + SEEDS_TO_NOTICE):
            try:
                play(seed, rules)
            except Violation as found:
                violation = found
                break
        else:
            raise AssertionError(f"{name}: not noticed in {SEEDS_TO_NOTICE} histories")
    assert violation.kind == "FALSE-PROOF"


def test_the_clocks_differ_by_what_the_readers_take_off() -> None:
    assert Rules.clock_skew_s * 1000 == 2 * SKEW_MS
