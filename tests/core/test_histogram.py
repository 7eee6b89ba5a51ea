"""Histograms of scores whose range nobody knows: any cut into parts adds up to the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_ray.core.histogram import BINS, Histogram

PARTS = st.lists(st.lists(st.floats(width=32), max_size=30), min_size=1, max_size=7)


def of(values: list[float]) -> Histogram:
    return Histogram.of(np.array(values, np.float32))


@given(PARTS, st.randoms())
def test_parts_add_up_to_one_of_all(parts: list[list[float]], shuffler: object) -> None:
    whole = of([value for part in parts for value in part])
    texts = [of(part).to_text() for part in parts]
    assert Histogram.merged(map(Histogram.from_text, texts)).to_text() == whole.to_text()
    middle = len(texts) // 2
    halves = [Histogram.merged(map(Histogram.from_text, some)) for some in (texts[middle:], texts[:middle]) if some]
    assert Histogram.merged(halves).to_text() == whole.to_text()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_every_value_lies_in_its_bin(values: list[float]) -> None:
    found = of(values)
    assert 1 <= len(found.counts) <= BINS and found.total == len(values)
    edges = found.ends[0] + np.arange(len(found.counts) + 1) * found.width
    np.testing.assert_array_equal(
        found.counts, [sum(low <= value < low + found.width for value in values) for low in edges[:-1]]
    )
    assert found.counts[0] and found.counts[-1]


@pytest.mark.parametrize(
    ("low", "high"), [(-1, 1), (0, 1), (-12.5, 9), (0, 180.0), (-900, -100), (0.95, 0.97), (1e-30, 2e-30)]
)
def test_bins_suit_any_range(low: float, high: float) -> None:
    found = of(np.linspace(low, high, 10_000).tolist())
    assert BINS / 2 - 1 <= len(found.counts) <= BINS
    np.testing.assert_allclose(
        found.quantiles([0, 0.25, 0.5, 1]), low + np.array([0, 0.25, 0.5, 1]) * (high - low), atol=1.1 * found.width
    )


def test_rounding_alone_is_not_shown() -> None:
    """Equal texts have a cosine of 1, or of nearly 1."""
    assert len(of([1 - 1e-6, 1 - 1e-7, 1.0]).counts) == 2
    assert of([0.7] * 9).counts.tolist() == [9]
    assert of([0.0, -0.0]).counts.tolist() == [2]


def test_what_is_not_finite_is_left_out() -> None:
    assert of([np.inf, -np.inf, np.nan, 3.0]).total == 1
    assert of([np.nan]).total == of([]).total == 0


def test_a_shard_says_it_in_few_bytes() -> None:
    scores = np.random.default_rng(0).normal(size=100_000)
    assert len(of(scores.tolist()).to_text()) < 300
