"""Sums without rounding: against fractions, for any order and any cut."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from st_ray.evaluation.exact import UNITS, exact_dot, exact_sum, mean

VALUES = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), max_size=40)
SMALL = st.floats(-1e100, 1e100, allow_nan=False).filter(lambda value: value == 0 or abs(value) > 1e-100)


@given(VALUES, st.randoms())
def test_sums_are_exact_in_any_order(values: list[float], random: object) -> None:
    exact = sum((Fraction(value) for value in values), Fraction(0))
    assert Fraction(exact_sum(np.array(values)), UNITS) == exact
    assert exact_sum(np.array(values[::-1])) == exact_sum(np.array(values))


@given(st.lists(st.tuples(SMALL, SMALL), max_size=40))
def test_products_are_exact(pairs: list[tuple[float, float]]) -> None:
    left, right = (np.array(column) for column in zip(*pairs, strict=True)) if pairs else (np.zeros(0), np.zeros(0))
    exact = sum((Fraction(one) * Fraction(other) for one, other in pairs), Fraction(0))
    assert Fraction(exact_dot(left, right), UNITS) == exact


def test_many_values_of_every_size() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(200_001) * 10.0 ** rng.integers(-30, 30, 200_001)
    assert exact_sum(values) / UNITS == math.fsum(values)
    assert exact_sum(values[:70_000]) + exact_sum(values[70_000:]) == exact_sum(values)
    assert mean(np.array([0.1] * 10)) == 0.1
    assert math.isnan(mean(np.zeros(0)))
