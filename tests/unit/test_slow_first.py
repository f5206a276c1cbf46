"""The order of the tests of a run with several processes."""

from itertools import groupby
from typing import NamedTuple

from tests.slow_first import slow_first


class Item(NamedTuple):
    path: str
    number: int


def items(prefix: str, *sizes: int) -> list[Item]:
    return [Item(f"{prefix}{file}", n) for file, size in enumerate(sizes) for n in range(size)]


def test_each_process_begins_with_slow_files_and_ends_with_quick_tests() -> None:
    slow, quick = items("slow", 3, 1, 2, 4, 1), items("quick", 40, 30, 19)
    ordered = slow_first(slow, quick, 4)
    runs = [ordered[n * 25 : (n + 1) * 25] for n in range(4)]

    assert sorted(ordered) == sorted([*slow, *quick])
    for run in runs:
        assert run[0].path.startswith("slow")
        assert run[-1].path.startswith("quick")
        kinds = [kind for kind, _ in groupby(run, key=lambda item: item.path[:4])]
        assert kinds == ["slow", "quic"]
    assert [path for path, _ in groupby(slow, key=lambda item: item.path)] == sorted(
        path for path, _ in groupby(ordered, key=lambda item: item.path) if path[:4] == "slow"
    )


def test_no_test_is_left_out_when_there_is_little_else() -> None:
    for quick in ([], items("quick", 1)):
        ordered = slow_first(items("slow", 5, 1), quick, 3)
        assert len(ordered) == 6 + len(quick)
