"""Batches: each example once an epoch, the same ones wherever a run begins, alike in length."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import ConfigError
from st_ray.training.batches import WINDOW, BatchPlan, Window, scattered

plans = st.builds(
    BatchPlan,
    examples=st.integers(1, 700),
    batch=st.integers(1, 9),
    epochs=st.one_of(st.integers(1, 3), st.floats(0.01, 3)),
    seed=st.integers(0, 2**70),
    grouped=st.booleans(),
)


def batches_of(plan: BatchPlan, window: Window) -> list[np.ndarray]:
    """Numbers of the examples of each step of a window; lengths are as arbitrary as they are few."""
    lengths = window.rows * 7919 % 13
    return [window.rows[positions] for positions in plan.batches(window, lengths)]


def all_batches(plan: BatchPlan, start: int = 0) -> list[np.ndarray]:
    return [batch for window in plan.windows(start) for batch in batches_of(plan, window)]


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.integers(1, 3000), st.integers(0, 2**70), st.integers(0, 9), st.integers(1, 7))
def test_places_are_scattered_one_to_one(count: int, seed: int, epoch: int, parts: int) -> None:
    every = scattered(np.arange(count), count, seed, epoch)
    assert every.dtype == np.int64
    assert np.array_equal(np.sort(every), np.arange(count))
    pieces = [scattered(places, count, seed, epoch) for places in np.array_split(np.arange(count), parts)]
    assert np.array_equal(np.concatenate(pieces), every)


def test_more_places_than_memory_could_hold() -> None:
    count = 10**15 + 3
    places = np.concatenate([np.arange(50_000), np.arange(count - 50_000, count)])
    found = scattered(places, count, 1, 0)
    assert len(np.unique(found)) == len(places)
    assert found.min() >= 0
    assert found.max() < count
    assert abs(found.mean() / count - 0.5) < 0.01


@pytest.mark.parametrize("count", [2, 3, 7, 12])
def test_every_number_comes_at_every_place_as_often(count: int) -> None:
    """Chi-squared of the counts of each number at each place, over many epochs."""
    epochs = 2000
    counts = np.zeros((count, count))
    for epoch in range(epochs):
        counts[np.arange(count), scattered(np.arange(count), count, 3, epoch)] += 1
    expected = epochs / count
    freedom = (count - 1) ** 2
    # A permutation has each number once: the counts vary a little more than independent ones.
    statistic = ((counts - expected) ** 2 / expected).sum() * (count - 1) / count
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)


def test_neighbours_are_torn_apart() -> None:
    """What follows on a number, and the number itself, tell nothing of each other."""
    count = 100_000
    found = scattered(np.arange(count), count, 0, 0)
    assert abs(np.corrcoef(np.arange(count), found)[0, 1]) < 5 / math.sqrt(count)
    steps = np.diff(found) % count
    for lag in (1, 2, 317, 318):
        assert abs(np.corrcoef(found[lag:], found[:-lag])[0, 1]) < 5 / math.sqrt(count)
    counts = np.bincount(steps * 64 // count, minlength=64)
    assert ((counts - count / 64) ** 2 / (count / 64)).sum() < 63 + 6 * math.sqrt(2 * 63)


def test_other_seeds_and_epochs_give_another_order() -> None:
    orders = {
        scattered(np.arange(50), 50, seed, epoch).tobytes() for seed in (0, 1, 2**64, 2**65) for epoch in (0, 1, 2)
    }
    assert len(orders) == 12


@pytest.mark.parametrize("places", [[-1, 0], [0, 5]])
def test_places_that_are_none(places: list[int]) -> None:
    with pytest.raises(ValueError, match="are not all among 0 to 4"):
        scattered(np.array(places), 5, 0, 0)


def test_nowhere() -> None:
    assert scattered(np.empty(0, np.int64), 5, 0, 0).dtype == np.int64


def test_the_batches_of_a_seed_stay_what_they_are() -> None:
    """A checkpoint of one release may be gone on from with the next."""
    assert scattered(np.arange(10), 10, 0, 0).tolist() == [4, 3, 1, 9, 7, 5, 8, 2, 0, 6]
    plan = BatchPlan(examples=10, batch=3, epochs=1, seed=7)
    (window,) = plan.windows()
    batches = plan.batches(window, window.rows)
    assert [window.rows[positions].tolist() for positions in batches] == [[4, 5, 6], [7, 8, 9], [1, 2, 3], [0]]


@settings(deadline=None, max_examples=100, derandomize=True)
@given(plans)
def test_each_epoch_sees_each_example_once(plan: BatchPlan) -> None:
    batches = all_batches(plan)
    assert len(batches) == plan.steps == math.ceil(plan.epochs * plan.steps_per_epoch) >= 1
    for first in range(0, len(batches), plan.steps_per_epoch):
        epoch = batches[first : first + plan.steps_per_epoch]
        assert {len(batch) for batch in epoch[:-1]} <= {plan.batch}
        seen = np.concatenate(epoch)
        assert len(np.unique(seen)) == len(seen)
        if len(epoch) == plan.steps_per_epoch:
            assert np.array_equal(np.sort(seen), np.arange(plan.examples))
        else:
            assert len(epoch[-1]) == plan.batch


@settings(deadline=None, max_examples=100, derandomize=True)
@given(plans, st.data())
def test_starting_anywhere_gives_the_same_batches(plan: BatchPlan, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, plan.steps - 1))
    windows = list(plan.windows(start))
    assert windows[0].first_step <= start < windows[0].first_step + windows[0].steps
    assert all(1 <= window.steps <= WINDOW for window in windows)
    assert all(len(window.rows) <= WINDOW * plan.batch for window in windows)
    later, every = all_batches(plan, start), all_batches(plan)
    for found, expected in zip(later, every[windows[0].first_step :], strict=True):
        assert np.array_equal(found, expected)


def test_no_window_past_the_end() -> None:
    plan = BatchPlan(examples=10, batch=3, epochs=2, seed=0)
    assert plan.steps == 8
    assert [window.first_step for window in plan.windows(7)] == [4]
    assert not list(plan.windows(8))


def test_grouped_batches_are_alike_in_length() -> None:
    plan = BatchPlan(examples=WINDOW * 8 * 3 + 5, batch=8, epochs=1, seed=4)
    lengths = np.random.default_rng(0).integers(1, 512, plan.examples)
    orders = []
    for window in plan.windows():
        batches = [lengths[window.rows][positions] for positions in plan.batches(window, lengths[window.rows])]
        spans = sorted((batch.min(), batch.max()) for batch in batches)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
        orders.append(tuple(np.argsort([batch.mean() for batch in batches])))
    assert len(set(orders[:3])) == 3
    assert all(abs(np.corrcoef(order, np.arange(WINDOW))[0, 1]) < 0.5 for order in orders[:3])


def test_a_smaller_batch_may_have_any_length() -> None:
    lengths = np.arange(41)
    shorts = []
    for seed in range(40):
        plan = BatchPlan(examples=41, batch=8, epochs=1, seed=seed)
        (window,) = plan.windows()
        batches = plan.batches(window, lengths)
        assert [len(batch) for batch in batches] == [8] * 5 + [1]
        shorts.append(int(batches[-1][0]))
    assert set(shorts) == {0, 8, 16, 24, 32, 40}


def test_ungrouped_batches_take_the_rows_as_they_come() -> None:
    plan = BatchPlan(examples=20, batch=6, epochs=1, seed=1, grouped=False)
    (window,) = plan.windows()
    batches = plan.batches(window, np.zeros(20, np.int64))
    assert np.array_equal(np.concatenate(batches), np.arange(20))
    assert [len(batch) for batch in batches] == [6, 6, 6, 2]


@pytest.mark.parametrize("grouped", [True, False])
def test_one_window_holds_all_that_is_needed(grouped: bool) -> None:
    plan = BatchPlan(examples=10**14, batch=256, epochs=2.5, seed=9, grouped=grouped)
    window = next(plan.windows(plan.steps_per_epoch + 10**9))
    assert window.first_step <= plan.steps_per_epoch + 10**9
    assert len(window.rows) == WINDOW * 256
    batches = plan.batches(window, window.rows % 100)
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(WINDOW * 256))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"examples": 0}, "no example"),
        ({"batch": 0}, "a batch of 0 examples"),
        ({"epochs": 0}, "0 epochs"),
        ({"epochs": math.nan}, "nan epochs"),
        ({"epochs": math.inf}, "inf epochs"),
        ({"seed": -1}, "the seed -1"),
    ],
)
def test_numbers_that_make_no_sense(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BatchPlan(**{"examples": 10, "batch": 2, "epochs": 1, "seed": 0, **wrong})
