"""Laws of batching: a permutation of the rows, the budget kept, rows of similar length together."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from st_ray.models.batching import padded_length, token_budget_batches
from st_ray.models.tokens import gather_padded

LENGTHS = st.lists(st.integers(0, 300), max_size=200).map(lambda values: np.array(values, np.int32))


@given(LENGTHS, st.integers(1, 2000), st.sampled_from([1, 8, 16]), st.none() | st.integers(1, 20))
def test_batches_are_a_permutation_within_the_budget(
    lengths: np.ndarray, budget: int, multiple: int, max_rows: int | None
) -> None:
    batches = token_budget_batches(lengths, budget, multiple, max_rows)
    assert sorted(np.concatenate([np.empty(0, np.int64), *batches]).tolist()) == list(range(len(lengths)))
    for rows in batches:
        width = int(padded_length(lengths[rows], multiple).max())
        assert len(rows) == 1 or len(rows) * width <= budget
        assert width % multiple == 0
        assert max_rows is None or len(rows) <= max_rows


@given(LENGTHS, st.integers(1, 2000))
def test_longest_first_and_equal_lengths_in_order(lengths: np.ndarray, budget: int) -> None:
    order = np.concatenate([np.empty(0, np.int64), *token_budget_batches(lengths, budget)])
    steps = np.diff(lengths[order])
    assert (steps <= 0).all()
    assert (np.diff(order)[steps == 0] > 0).all()


@given(LENGTHS, st.integers(1, 2000))
def test_no_batch_could_take_the_next_row(lengths: np.ndarray, budget: int) -> None:
    for rows in token_budget_batches(lengths, budget)[:-1]:
        assert (len(rows) + 1) * int(padded_length(lengths[rows], 1).max()) > budget


@given(LENGTHS.filter(len), st.randoms(use_true_random=False))
def test_gathered_rows_are_the_slices(lengths: np.ndarray, rng: np.random.Generator) -> None:
    flat = np.arange(1, lengths.sum() + 1, dtype=np.int32)
    starts = np.cumsum(lengths) - lengths
    rows = np.array(rng.sample(range(len(lengths)), k=min(5, len(lengths))))
    width = int(padded_length(lengths[rows], 1).max())
    padded = gather_padded(flat, starts[rows], lengths[rows], width, fill=-7)
    assert padded.shape == (len(rows), width)
    for row, found in zip(rows, padded, strict=True):
        expected = flat[starts[row] : starts[row] + lengths[row]]
        assert found[: lengths[row]].tolist() == expected.tolist()
        assert (found[lengths[row] :] == -7).all()
