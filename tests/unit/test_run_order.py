"""The order in which several processes run the tests."""

from itertools import groupby, pairwise
from typing import NamedTuple

from tests.run_order import alternate


class Item(NamedTuple):
    path: str
    number: int


def items(prefix: str, *sizes: int) -> list[Item]:
    return [Item(f"{prefix}{file}", n) for file, size in enumerate(sizes) for n in range(size)]


def test_slow_and_quick_files_alternate_and_each_process_begins_with_a_slow_one() -> None:
    slow, quick = items("slow", 3, 1, 2, 4), items("quick", 5, 6, 7, 8, 1, 2)
    ordered = alternate(slow, quick, 2)
    files = [path for path, _ in groupby(ordered, key=lambda item: item.path)]

    assert sorted(ordered) == sorted([*slow, *quick])
    assert len(files) == 10  # none is divided
    assert [path for path in files if path[:4] == "slow"] == ["slow0", "slow2", "slow1", "slow3"]
    assert files[0] == "slow0"
    assert files[-1][:5] == "quick"
    assert all(a[:4] != "slow" or b[:5] == "quick" for a, b in pairwise(files))


def test_no_test_is_left_out_where_one_kind_is_missing() -> None:
    slow, quick = items("slow", 5, 1), items("quick", 2, 1)
    assert alternate([], quick, 4) == quick
    assert sorted(alternate(slow, [], 4)) == slow
