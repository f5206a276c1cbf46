"""A rule that is left out on purpose: what it takes, and what must notice.

Production code is patched, as a version of ours might be that had never heard of the rule,
together with whatever else of our code would refuse the result: who has to notice is the model.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from tests.fake_table import InMemoryTable
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


@contextmanager
def unconditional(condition: str) -> Iterator[None]:
    """Calls with this condition, or with it among others, are made as if they had none."""
    update, put = InMemoryTable.update_item, InMemoryTable.put_item

    def without(arguments: dict[str, Any]) -> dict[str, Any]:
        if condition in arguments.get("ConditionExpression", ""):
            del arguments["ConditionExpression"]
        return arguments

    async def update_item(table: InMemoryTable, **arguments: Any) -> dict[str, Any]:
        return await update(table, **without(arguments))

    async def put_item(table: InMemoryTable, **arguments: Any) -> dict[str, Any]:
        return await put(table, **without(arguments))

    with (
        patch.object(InMemoryTable, "update_item", update_item),
        patch.object(InMemoryTable, "put_item", put_item),
    ):
        yield
