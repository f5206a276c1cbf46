"""Waits before asking again."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from worker.backoff import BACKOFF_S_MAX, backoff_delays


def test_the_ceiling_doubles_from_50_ms_to_5_s_without_end() -> None:
    """A store that is away is waited for, never given up (G1, G8)."""
    ceilings = list(islice(backoff_delays(lambda: 1.0), 10))

    assert ceilings == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


@given(st.floats(min_value=0, max_value=1, exclude_max=True), st.integers(0, 50))
def test_jitter_is_full(value: float, attempt: int) -> None:
    """A wait is anywhere between nothing and its ceiling (G8)."""
    delay = next(islice(backoff_delays(lambda: value), attempt, None))
    ceiling = next(islice(backoff_delays(lambda: 1.0), attempt, None))

    assert delay == value * ceiling
    assert 0 <= delay <= BACKOFF_S_MAX
