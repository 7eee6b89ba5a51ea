"""The smallest parameter that reaches the target, and what is said where none does."""

from __future__ import annotations

import bisect
import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_ray.index.query import search_index
from st_ray.index.tune import Curve, parameters_of, recall, tune
from tests.index.kinds import filled, spec_of, vectors

TRUTH = np.arange(100)[None]


@given(
    st.lists(st.integers(0, 100), min_size=1, max_size=300).map(sorted),
    st.integers(1, 100),
    st.integers(1, 20),
    st.none() | st.integers(1, 400),
)
def test_the_smallest_that_reaches(found: list[int], target: int, first: int, near: int | None) -> None:
    """`found[p - 1]` of 100 neighbours are found with a parameter of p; where one looks first changes nothing."""
    first = min(first, len(found))
    parameters = [first]
    while parameters[-1] < len(found):
        parameters.append(min(2 * parameters[-1], len(found)))
    asked: list[int] = []

    def search(parameter: int | None) -> tuple[np.ndarray, float]:
        assert parameter is not None
        asked.append(parameter)
        return TRUTH[:, : found[parameter - 1]], parameter / 1000

    curve = tune(search, TRUTH, parameters, target / 100, near)
    assert len(asked) == len(set(asked)) == len(curve.points)
    assert [point.parameter for point in curve.points] == sorted(asked)
    assert curve.reached == (found[-1] >= target)
    if curve.reached:
        smallest = bisect.bisect_left(found, target) + 1
        assert curve.chosen == max(first, smallest)
        assert not curve.advice
    else:
        assert curve.best.recall == found[-1] / 100
        assert "less compression" in curve.advice
    assert Curve.from_json(json.loads(json.dumps(curve.to_json()))) == curve


def test_a_little_beyond_the_target_is_measured() -> None:
    curve = tune(lambda p: (TRUTH[:, : 10 * (p or 0)], 0.0), TRUTH, [1, 2, 4, 8, 16, 32, 64], 0.2)
    assert [point.parameter for point in curve.points] == [1, 2, 4, 8]
    assert (curve.chosen, curve.best.recall) == (2, 0.2)


@pytest.mark.parametrize(("near", "looks"), [(33, [33, 32, 8, 16]), (30, [30, 31, 33, 32, 8, 16])])
def test_little_is_measured_where_the_neighbourhood_is_known(near: int, looks: list[int]) -> None:
    asked: list[int] = []

    def search(parameter: int | None) -> tuple[np.ndarray, float]:
        asked.append(parameter or 0)
        return TRUTH[:, :parameter], 0.0

    assert tune(search, TRUTH, parameters_of(spec_of("IVF128,Flat"), 10), 0.33, near).chosen == 33
    assert asked == looks


def test_nothing_to_set() -> None:
    curve = tune(lambda parameter: (TRUTH, 0.5), TRUTH, parameters_of(spec_of("Flat"), 10), 1.0)
    assert (curve.chosen, curve.reached, curve.best.seconds_per_query) == (None, True, 0.5)


def test_a_real_index() -> None:
    spec, index = spec_of("IVF8,Flat"), filled("IVF8,Flat")
    asked = vectors(seed=9)
    truth = search_index(filled("Flat"), spec_of("Flat"), asked, 10)[1]

    def search(parameter: int | None) -> tuple[np.ndarray, float]:
        begun = time.perf_counter()
        found = search_index(index, spec, asked, 10, parameter)[1]
        return found, (time.perf_counter() - begun) / len(asked)

    curve = tune(search, truth, parameters_of(spec, 10), 0.9)
    assert curve.reached
    assert curve.chosen is not None
    assert recall(search(curve.chosen)[0], truth) >= 0.9 > recall(search(curve.chosen - 1)[0], truth)
    assert tune(search, truth, parameters_of(spec, 10), 1.0).chosen == 8


def test_parameters() -> None:
    assert parameters_of(spec_of("Flat"), 10) == ()
    assert parameters_of(spec_of("IVF12,Flat"), 10) == (1, 2, 4, 8, 12)
    assert parameters_of(spec_of("HNSW8"), 10) == (10, 20, 40, 80, 160, 320, 640, 1280, 2560, 4096)
    assert parameters_of(spec_of("HNSW8"), 5000) == (5000,)


def test_recall() -> None:
    truth = np.array([[1, 2], [3, -1]])
    assert recall(np.array([[2, 1], [3, -1]]), truth) == 1
    assert recall(np.array([[2, 9], [-1, -1]]), truth) == pytest.approx(1 / 3)
    assert recall(np.array([[9, 8, 1, 2], [4, 5, 6, 7]]), truth) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="3 queries were searched, 2 have"):
        recall(np.zeros((3, 2), int), truth)
    with pytest.raises(ValueError, match="no true neighbours"):
        recall(np.array([[1]]), np.array([[-1]]))


@pytest.mark.parametrize("target", [0.0, -0.1, 1.1])
def test_a_target_that_is_no_share(target: float) -> None:
    with pytest.raises(ValueError, match="target recall"):
        tune(lambda parameter: (TRUTH, 0.0), TRUTH, [1], target)
