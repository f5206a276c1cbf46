"""A rule that is left out on purpose: what it takes, and what must notice.

Production code is patched, as a version of ours might be that had never heard of the rule,
together with whatever else of our code would refuse the result: who has to notice is the model.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.model.profiles import Profile


@dataclass(frozen=True)
class Variant:
    """A world without one rule.

    profile, first_seed: where it is soon noticed. kinds: of what is found.
    """

    name: str
    profile: Profile
    first_seed: int
    kinds: frozenset[str]
    left_out: Callable[[], AbstractContextManager[None]]


#: By name, in the order of the package's table.
VARIANTS: dict[str, Variant] = {}

Broken = Callable[[], Iterator[None]]


def variant(profile: Profile, first_seed: int, *kinds: str) -> Callable[[Broken], Broken]:
    """Registers a function, a context manager's, that leaves a rule out while it is open."""

    def register(broken: Broken) -> Broken:
        name = broken.__name__
        VARIANTS[name] = Variant(
            name, profile, first_seed, frozenset(kinds), contextmanager(broken)
        )
        return broken

    return register
