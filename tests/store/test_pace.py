"""Rates by the times of commits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_ray.store.pace import Pace, pace_of

MOMENTS = st.lists(st.tuples(st.floats(1, 1e6), st.integers(0, 1000)), max_size=60)


@given(st.integers(2, 300), st.integers(1, 100), st.floats(0.1, 50.0))
def test_commits_at_a_steady_pace_have_its_rate(commits: int, rows: int, seconds: float) -> None:
    moments = [(1000.0 + number * seconds, rows) for number in range(commits)]
    pace = pace_of(moments, None)
    assert pace.recent == pytest.approx(rows / seconds)
    assert pace.overall == pytest.approx(rows / seconds)
    # The run began one step before its first commit.
    assert pace_of(moments, 1000.0 - seconds).overall == pytest.approx(rows / seconds)


@given(MOMENTS, st.randoms(), st.one_of(st.none(), st.floats(0, 1e6)))
def test_the_order_of_records_does_not_matter(moments: list[tuple[float, int]], random, began: float | None) -> None:
    shuffled = list(moments)
    random.shuffle(shuffled)
    assert pace_of(shuffled, began) == pace_of(moments, began)


def test_what_is_not_known_is_not_made_up() -> None:
    assert pace_of([], 5.0) == Pace()
    assert pace_of([(0.0, 7), (0.0, 8)], None) == Pace()  # records of older releases have no time
    assert pace_of([(100.0, 7)], None) == Pace(None, None, 100.0)
    assert pace_of([(100.0, 8)], 96.0) == Pace(None, 2.0, 100.0)
    assert pace_of([(100.0, 8), (100.0, 8)], None) == Pace(None, None, 100.0)


def test_an_earlier_run_does_not_count_and_the_last_commits_count_most() -> None:
    early = [(100.0 + number, 1000) for number in range(10)]
    slow = [(5000.0 + 10 * number, 10) for number in range(1, 31)]
    fast = [(5300.0 + number, 10) for number in range(1, 41)]
    pace = pace_of([*early, *slow, *fast], 5000.0)
    assert pace.recent == pytest.approx(10.0)
    assert pace.overall == pytest.approx(700 / 340)
    # A run that has committed nothing yet has no rate.
    assert pace_of(early, 5000.0) == Pace(None, None, 109.0)
