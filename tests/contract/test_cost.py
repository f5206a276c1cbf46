"""What a load costs: calls, items, bytes and write units, counted and never timed.

The figures stand here. A change that alters one says so, and why it is worth it.
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.instant import Counted, Counting, listen, wire_item_bytes
from benchmarks.workloads import Batch, each_to_another, one_hot_user, skewed
from benchmarks.write_path import flush_all, flusher, worker_writer
from poste_restante.item import Attribute, Item, item_bytes

#: Of bodies of 300 bytes. bytes: of the calls' bodies.
COSTS = {
    each_to_another: Counted(calls=80, items=2_000, bytes=1_376_120, write_units=2_000),
    skewed: Counted(calls=28, items=518, bytes=1_085_466, write_units=979),
    one_hot_user: Counted(calls=20, items=20, bytes=989_430, write_units=660),
}


@pytest.mark.parametrize(("load", "cost"), COSTS.items(), ids=[load.__name__ for load in COSTS])
async def test_two_thousand_messages_cost_what_they_did(
    load: Callable[[int], Sequence[Batch]], cost: Counted
) -> None:
    """Nothing is read, nothing else is called, nothing is written twice (G8)."""
    counting = Counting()
    server, address = await listen(counting)
    async with server, AsyncExitStack() as stack:
        await flush_all(flusher(await worker_writer(stack, address)), load(2_000))

    assert counting.by_operation == {"BatchWriteItem": cost}


ATTRIBUTES = st.recursive(
    st.one_of(
        st.binary(max_size=9).map(lambda content: {"B": content}),
        st.text(max_size=9).map(lambda content: {"S": content}),
        st.integers().map(lambda content: {"N": str(content)}),
        st.just({"NULL": True}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda content: {"L": content}),
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(lambda content: {"M": content}),
    ),
)


@given(st.dictionaries(st.text(max_size=3), ATTRIBUTES, max_size=3))
def test_an_item_on_the_wire_has_the_size_that_it_has(item: Item) -> None:
    """The counting endpoint and the fake table count alike (G8)."""
    assert wire_item_bytes(_on_the_wire(item)) == item_bytes(item)


def _on_the_wire(item: Item) -> Item:
    return {name: _attribute_on_the_wire(value) for name, value in item.items()}


def _attribute_on_the_wire(value: Attribute) -> Attribute:
    ((kind, content),) = value.items()
    if kind == "B":
        return {kind: b64encode(content).decode()}
    if kind == "L":
        return {kind: [_attribute_on_the_wire(element) for element in content]}
    return {kind: _on_the_wire(content) if kind == "M" else content}
