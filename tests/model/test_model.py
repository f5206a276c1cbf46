"""The model test: histories of everything that can happen, and of each rule left out.

MODEL_TIMES=20 python -m pytest tests/model         twenty times as many histories
"""

import logging
import os
import random as randomness
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

import tests.model
from tests.model import (
    profiles,
    without_progress_rules,
    without_reading_rules,
    without_writing_rules,
)
from tests.model.ledger import Violation
from tests.model.profiles import Profile
from tests.model.variants import VARIANTS, Variant
from tests.model.world import World

assert without_writing_rules
assert without_progress_rules
assert without_reading_rules

TIMES = int(os.environ.get("MODEL_TIMES", "1"))
#: Histories of a profile in which nothing may be wrong.
SEEDS = 12 * TIMES
#: Histories within which a rule that is left out must be noticed. The rarest is found in 2 of 100;
#: each variant's `first_seed` is shortly before one that finds it, which is for speed alone.
SEEDS_TO_NOTICE = 300

ALL = [
    profiles.EVERYTHING, profiles.REPLAYS, profiles.REWINDS, profiles.SKIPS, profiles.PAGES,
    profiles.RETENTION, profiles.BEGINNINGS, profiles.FAILURES, profiles.DEVICES,
    profiles.DELETING,
]  # fmt: skip
EVENTS = [
    name
    for name, weight in profiles.EVERYTHING.weights.items()
    for _ in range(max(1, round(weight / 2)))
]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Failures are ordered by the thousand here: the log is not what is tested."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def play(profile: Profile, seed: int) -> None:
    """One history. Raises Violation."""
    random = randomness.Random(seed)
    with World(profile, random) as world:
        world.run(random.randrange(*profile.steps))


@pytest.mark.parametrize("profile", ALL, ids=lambda profile: profile.name)
def test_nothing_is_violated(profile: Profile) -> None:
    """A reading equals the model's expectation after every step of every history (G1 to G6)."""
    for seed in range(SEEDS):
        play(profile, seed)


def noticed(variant: Variant) -> tuple[int, Violation] | None:
    """The first history that goes wrong without the rule."""
    for seed in range(variant.first_seed, variant.first_seed + SEEDS_TO_NOTICE):
        try:
            with variant.left_out():
                play(variant.profile, seed)
        except Violation as violation:
            return seed, violation
    return None


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda variant: variant.name)
def test_the_model_notices_a_missing_rule(variant: Variant) -> None:
    """Each rule is there for a reason: without it, and only without it, the history is wrong."""
    found = noticed(variant)

    assert found is not None, "no history needs the rule"
    seed, violation = found
    assert violation.kind in variant.kinds, str(violation)
    play(variant.profile, seed)


def test_the_table_of_rules_is_complete() -> None:
    """The package's page names every variant, with what is found without it."""
    rows = (tests.model.__doc__ or "").splitlines()
    for variant in VARIANTS.values():
        (row,) = [row.split() for row in rows if row.split()[:1] == [variant.name]]
        assert frozenset(row[1].split(",")) == variant.kinds


class Histories(RuleBasedStateMachine):
    """The same world, its events and all their details drawn by hypothesis."""

    @initialize(random=st.randoms(use_true_random=False))
    def begin(self, random: randomness.Random) -> None:
        self.world = World(profiles.EVERYTHING, random)
        self.world.__enter__()

    @rule(name=st.sampled_from(EVENTS), random=st.randoms(use_true_random=False))
    def event(self, name: str, random: randomness.Random) -> None:
        self.world.event(name, random)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.__exit__(None, None, None)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=60 * TIMES,
    stateful_step_count=60,
    deadline=None,  # a noisy machine is no finding
    suppress_health_check=list(HealthCheck),  # an event draws much: that is its nature
)
