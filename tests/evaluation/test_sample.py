"""The sample of rows: uniform, and the same however the rows are cut."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from st_ray.evaluation.sample import Sample


def sampled(rows: np.ndarray, capacity: int, seed: int = 0) -> Sample:
    return Sample.of(rows, {"double": 2 * rows}, seed=seed, capacity=capacity)


@given(st.integers(1, 60), st.integers(1, 30), st.lists(st.integers(0, 60), max_size=5), st.randoms())
def test_any_cut_in_any_order(count: int, capacity: int, cuts: list[int], random: object) -> None:
    rows = np.arange(count) * 3
    whole = sampled(rows, capacity)
    bounds = [0, *sorted(min(cut, count) for cut in cuts), count]
    parts = [sampled(rows[a:b], capacity) for a, b in itertools.pairwise(bounds)]
    random.shuffle(parts)  # type: ignore[attr-defined]
    merged = Sample.merged([Sample.merged(parts[:2]), *parts[2:]])
    np.testing.assert_array_equal(merged.rows, whole.rows)
    np.testing.assert_array_equal(merged.columns["double"], 2 * merged.rows)
    assert (merged.seen, merged.complete) == (count, count <= capacity)
    assert len(merged.rows) == min(count, capacity)


def test_it_is_uniform_and_follows_the_seed() -> None:
    rows = np.arange(100_000)
    one, other = sampled(rows, 10_000, seed=1), sampled(rows, 10_000, seed=2)
    assert len(np.intersect1d(one.rows, other.rows)) < 1_300  # a tenth, by chance
    counts, _ = np.histogram(one.rows, bins=10, range=(0, 100_000))
    assert counts.min() > 850 and counts.max() < 1_150
    assert (np.diff(one.rows) > 0).all()
