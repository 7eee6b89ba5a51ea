"""Correlations: as SciPy's, and the same bits for any cut of the pairs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from st_ray.evaluation.correlation import CorrelationSums, doubled_ranks, pearson, spearman

SCORES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.1, 0.7, 1.0]), st.floats(-5, 5, width=32)), min_size=3, max_size=30
)


@pytest.mark.parametrize("levels", [3, 40, 10_000])
def test_as_scipy(levels: int) -> None:
    rng = np.random.default_rng(levels)
    x = rng.integers(levels, size=3_000) / 7
    y = (x + rng.standard_normal(3_000)).astype(np.float32)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    np.testing.assert_array_equal(doubled_ranks(x), 2 * stats.rankdata(x))


def test_perfect_and_undefined() -> None:
    x = np.arange(5.0)
    assert (pearson(x, 3 * x), spearman(x, -(x**3))) == (1.0, -1.0)
    assert math.isnan(pearson(x, np.full(5, 0.3)))
    assert math.isnan(spearman(np.ones(5), x))


def test_far_from_zero() -> None:
    # Sums of squares would cancel in floating point.
    x = np.arange(100.0)
    assert pearson(x + 1e12, x * 2 - 1e12) == 1.0


@given(SCORES, st.lists(st.integers(0, 30), max_size=6))
def test_any_cut_gives_the_same_bits(pairs: list[tuple[float, float]], cuts: list[int]) -> None:
    x, y = (np.array(column) for column in zip(*pairs, strict=True))
    whole = CorrelationSums.of(x, y)
    bounds = [0, *sorted(min(cut, len(x)) for cut in cuts), len(x)]
    parts = [CorrelationSums.of(x[a:b], y[a:b]) for a, b in itertools.pairwise(bounds)]
    assert sum(reversed(parts), CorrelationSums()) == whole


@given(SCORES, st.floats(-5, 5, width=32))
def test_ranks_of_ranges_are_those_of_all(pairs: list[tuple[float, float]], bound: float) -> None:
    y = np.array([score for _, score in pairs])
    low = y < bound
    ranks = np.empty(len(y), np.int64)
    ranks[low] = doubled_ranks(y[low])
    ranks[~low] = doubled_ranks(y[~low], before=int(low.sum()))
    np.testing.assert_array_equal(ranks, doubled_ranks(y))
