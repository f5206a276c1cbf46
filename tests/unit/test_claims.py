"""Claims of freshness: the item, and what several of them prove (G11)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.claims import (
    PARTITIONS_ADDED_MAX,
    Claim,
    Freshness,
    WorkerClaims,
    combine,
)
from poste_restante.item import Item, item_bytes
from poste_restante.partitioners import murmur2
from poste_restante.table import TableRecord

RECORD = TableRecord(table_id="t", topic="undelivered", partitions=3, epoch=2)
#: Epoch milliseconds.
NOW = 1_800_000_000_000


def worker(partitions: int = 3, **claims: tuple[int, int]) -> WorkerClaims:
    """claims: by `p` and the partition."""
    return WorkerClaims(
        table_id="t", epoch=2, partitions=partitions,
        claims={int(name[1:]): Claim(*claim) for name, claim in claims.items()},
    )  # fmt: skip


def read(*workers: WorkerClaims | Item, unusable: Callable[[str], object] = print) -> Freshness:
    items = [each.encode(1) if isinstance(each, WorkerClaims) else each for each in workers]
    return combine(items, RECORD, now_ms=NOW, skew_ms=1000, on_unusable=unusable)


@given(
    st.dictionaries(
        st.integers(0, 99_999),
        st.builds(Claim, st.integers(0, 10**14), st.integers(0, 2**63 - 1)),
        min_size=1,
    )
)
def test_an_item_carries_the_claims(claims: dict[int, Claim]) -> None:
    made = WorkerClaims(table_id="t", epoch=2, partitions=100_000, claims=claims)
    assert WorkerClaims.decode(made.encode(1)) == made


def test_forty_partitions_are_one_write_unit() -> None:
    """So that a claim a second costs one unit, as the documents say."""
    claims = {f"p{n}": (NOW, 123_456_789) for n in range(34)}
    assert item_bytes(worker(partitions=256, **claims).encode(NOW // 1000)) <= 1024


def test_the_greatest_claim_of_a_partition_counts_and_the_least_partition_of_a_user() -> None:
    """A zombie's claim is only old. Instants and offsets are each true by themselves."""
    found = read(worker(p0=(NOW - 10, 7), p1=(NOW - 900, 5)), worker(p0=(NOW - 20, 9)))
    assert found.claims == {0: (NOW - 10, 9), 1: (NOW - 900, 5)}
    assert found.as_of_ms([0, 1]) == NOW - 900


def test_a_partition_that_nobody_claims_has_no_freshness() -> None:
    found = read(worker(p0=(NOW, 7)))
    assert found.as_of_ms([0, 1]) is None
    assert found.as_of_ms([]) is None
    assert not found.covers({1: 0})


def test_an_offset_is_covered_when_the_claim_is_above_it() -> None:
    found = read(worker(p0=(NOW, 7), p1=(NOW, 3)))
    assert [found.covers({0: offset}) for offset in (6, 7)] == [True, False]
    assert not found.covers({0: 6, 1: 3})


@pytest.mark.parametrize("change", [{"table_id": "another"}, {"epoch": 1}, {"epoch": 3}], ids=str)
def test_claims_of_another_table_or_epoch_are_none(change: dict[str, Any]) -> None:
    assert read(replace(worker(p0=(NOW, 7)), **change)).claims == {}


def test_a_claim_of_the_future_is_none_and_is_said() -> None:
    """A clock that is an hour ahead proves nothing, and one that is behind is only late."""
    said: list[str] = []
    hour = 3_600_000
    found = read(
        worker(p0=(NOW + hour, 7), p1=(NOW - hour, 5), p2=(NOW + 1000, 4)), unusable=said.append
    )
    assert found.claims == {1: (NOW - hour, 5), 2: (NOW + 1000, 4)}
    assert said == ["a worker's clock is 3600.0 s ahead of this one's, and clock_skew_s is 1"]


def damaged() -> list[Item]:
    good = worker(p0=(NOW, 7)).encode(1)

    def claims(value: Any) -> Item:
        return {**good, "claims": value}

    return [
        *({name: value for name, value in good.items() if name != missing} for missing in
          ("v", "table_id", "epoch", "partitions", "claims")),
        {**good, "v": {"N": "2"}},
        {**good, "partitions": {"N": "0"}},
        {**good, "partitions": {"N": "many"}},
        {**good, "partitions": {"S": "3"}},
        claims({"L": []}),
        claims({"M": {"0": {"N": "1"}}}),
        claims({"M": {"0": {"L": [{"N": "1"}]}}}),
        claims({"M": {"0": {"L": [{"N": "1"}, {"N": "2"}, {"N": "3"}]}}}),
        claims({"M": {"x": {"L": [{"N": "1"}, {"N": "2"}]}}}),
        claims({"M": {"3": {"L": [{"N": "1"}, {"N": "2"}]}}}),
        claims({"M": {"0": {"L": [{"N": "1"}, {"N": "-2"}]}}}),
    ]  # fmt: skip


@pytest.mark.parametrize("item", damaged(), ids=str)
def test_a_damaged_item_is_none_and_takes_no_other_with_it(item: Item) -> None:
    said: list[str] = []
    found = read(item, worker(p1=(NOW, 7)), unusable=said.append)
    assert found.claims == {1: (NOW, 7)}
    assert len(said) == 1


def test_partitions_that_were_added_count() -> None:
    """As soon as one worker's metadata shows them."""
    assert read(worker(partitions=5, p4=(NOW, 1))).partitions == 5
    assert list(read(worker(partitions=5, p4=(NOW, 1))).partitions_of("bob", None)) == [*range(5)]
    assert read().partitions == 3


def test_a_partitioner_is_asked_for_every_number_of_partitions_since_the_epoch_began() -> None:
    """Messages from before partitions were added may be on their way, and producers notice late."""
    found = Freshness(2, 6, 2)
    assert set(found.partitions_of("bob", murmur2)) == {murmur2(b"bob", n) for n in range(2, 7)}
    many = Freshness(2, 2 + PARTITIONS_ADDED_MAX, 2)
    assert list(many.partitions_of("bob", murmur2)) == [*range(many.partitions)]


@pytest.mark.parametrize(
    ("returned", "error"), [(3, ValueError), (-1, ValueError), ("0", TypeError), (True, TypeError)]
)
def test_a_partitioner_that_names_no_partition_is_refused(
    returned: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="the partitioner returned"):
        Freshness(3, 3, 2).partitions_of("bob", lambda key, partitions: returned)
