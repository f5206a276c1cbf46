"""The progress item."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.progress import Progress
from worker.record import Fingerprint

OFFSETS = st.integers(0, 2**63 - 1)
PROGRESS = st.builds(
    Progress,
    table_id=st.text(min_size=1),
    epoch=st.integers(1, 9999),
    next=OFFSETS,
    origin=OFFSETS,
    last=st.none() | st.builds(Fingerprint, st.none() | OFFSETS, st.integers(0, 2**32 - 1)),
    group=st.none() | OFFSETS,
    consecutive_dead_letters=st.integers(0, 1000),
    written_at_ms=OFFSETS,
    caught_up_at_ms=st.none() | OFFSETS,
)
ONE = Progress(table_id="t1", epoch=1, next=5, origin=0, written_at_ms=9)


@given(PROGRESS)
def test_progress_is_stored_and_read_back_as_it_was(progress: Progress) -> None:
    """Nothing of it is lost on the way (G1)."""
    item = progress.encode("chat", 3)

    assert item["user_id"] == {"S": "!progress/chat/3"}
    assert Progress.decode(item) == progress
    assert Progress.decode(item | {"newer": {"S": "x"}}) == progress


def test_a_first_progress_is_all_its_item_says() -> None:
    """Absent is absent, not zero (G1)."""
    assert ONE.encode("chat", 3) == {
        "user_id": {"S": "!progress/chat/3"},
        "position": {"S": "!"},
        "v": {"N": "1"},
        "table_id": {"S": "t1"},
        "epoch": {"N": "1"},
        "next": {"N": "5"},
        "origin": {"N": "0"},
        "dead_in_a_row": {"N": "0"},
        "written_at": {"N": "9"},
    }


@pytest.mark.parametrize(
    "change",
    [{"v": {"N": "2"}}, {"next": {"S": "5"}}, {"next": {"N": "x"}}, {"epoch": None}],
)
def test_an_item_of_another_kind_is_refused(change: dict[str, dict[str, str]]) -> None:
    """It is never taken for a partition without progress (G1)."""
    item = replace(ONE, group=4).encode("chat", 3) | change
    with pytest.raises(ValueError, match=r"progress|literal"):
        Progress.decode(item)
