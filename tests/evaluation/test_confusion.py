"""Counts of gold and predicted labels: scikit-learn's F1, merging, and draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from st_ray.core.errors import InputError
from st_ray.evaluation.confusion import Confusion, f1_averages, f1_figures

LABELS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@given(LABELS)
def test_f1_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    gold, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    confusion = Confusion.of(gold, predicted)
    for average in ("macro", "micro", "weighted"):
        expected = f1_score(gold, predicted, average=average, zero_division=0)
        assert confusion.f1(average) == pytest.approx(expected, abs=1e-12)
    binary = Confusion.of(gold % 2, predicted % 2).f1("binary")
    assert binary == pytest.approx(f1_score(gold % 2, predicted % 2, zero_division=0), abs=1e-12)
    assert confusion.accuracy == np.mean(gold == predicted)


@given(LABELS, LABELS)
def test_sums_are_of_all_pairs(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    def counted(pairs: list[tuple[int, int]]) -> Confusion:
        return Confusion.of(*(np.array(column) for column in zip(*pairs, strict=True)))

    both, whole = counted(other) + counted(one), counted(one + other)
    np.testing.assert_array_equal(both.labels, whole.labels)
    np.testing.assert_array_equal(both.counts, whole.counts)


def test_draws_have_as_many_pairs_and_the_same_shares() -> None:
    confusion = Confusion.of(np.array([0] * 60 + [1] * 40), np.array([0] * 50 + [1] * 50))
    rng = np.random.default_rng(0)
    drawn = [confusion.resampled(rng) for _ in range(400)]
    assert {one.total for one in drawn} == {100}
    mean = np.mean([one.counts for one in drawn], axis=0)
    np.testing.assert_allclose(mean, confusion.counts, atol=1.5)
    assert np.std([one.accuracy for one in drawn]) == pytest.approx(np.sqrt(0.9 * 0.1 / 100), rel=0.15)


def test_what_f1_needs() -> None:
    assert f1_averages(np.array([0, 1, 1])) == ("binary",)
    with pytest.raises(InputError, match="one distinct label"):
        f1_averages(np.array([2, 2]))
    with pytest.raises(InputError, match=r"labels are \[0, 1, 2\]"):
        f1_figures(Confusion.of(np.array([0, 1]), np.array([0, 2])), ("binary",))
