"""Laws of batching: a permutation of the rows, the budget kept, rows of similar length together."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from st_ray.models.batching import Remainder, even_batches, padded_batches, rounded_up, token_budget_batches
from st_ray.models.tokens import TokenizedTexts, gather_padded

LENGTHS = st.lists(st.integers(0, 300), max_size=200).map(lambda values: np.array(values, np.int32))


@given(LENGTHS, st.integers(1, 2000), st.none() | st.integers(1, 20))
def test_batches_are_a_permutation_within_the_budget(lengths: np.ndarray, budget: int, max_rows: int | None) -> None:
    batches = token_budget_batches(lengths, budget, max_rows)
    assert sorted(np.concatenate([np.empty(0, np.int64), *batches]).tolist()) == list(range(len(lengths)))
    for rows in batches:
        assert len(rows) == 1 or len(rows) * max(1, lengths[rows].max()) <= budget
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
        assert (len(rows) + 1) * max(1, lengths[rows].max()) > budget


@given(LENGTHS, st.integers(1, 2000), st.none() | st.integers(1, 20))
def test_even_batches_have_one_length_each(lengths: np.ndarray, budget: int, max_rows: int | None) -> None:
    batches, left = even_batches(lengths, budget, max_rows)
    assert sorted(np.concatenate([*batches, left]).tolist()) == list(range(len(lengths)))
    for rows in batches:
        assert len(set(lengths[rows].tolist())) == 1
        assert len(rows) == 1 or len(rows) * lengths[rows[0]] <= budget
        assert max_rows is None or len(rows) <= max_rows
    for length in set(lengths.tolist()):
        most = min(max_rows or budget, max(1, budget // max(1, length)))
        sizes = [len(rows) for rows in batches if lengths[rows[0]] == length]
        # All but the last are as large as can be, and so of one shape.
        assert set(sizes[:-1]) <= {most} and all(2 * most <= 3 * size for size in sizes)
        assert (lengths[left] == length).sum() * 3 < most * 2


@given(LENGTHS, st.sampled_from([1, 8, 16]))
def test_rows_grow_to_the_next_multiple_or_not_at_all(lengths: np.ndarray, step: int) -> None:
    found = rounded_up(lengths, Remainder(step))
    grown = found - lengths
    assert ((grown >= 0) & (grown < step)).all()
    assert (found[grown > 0] % step == 0).all()


def test_the_longer_a_row_the_more_places_may_be_added() -> None:
    lengths = np.array([14, 15, 16, 29, 30, 40, 46, 47, 120, 184, 200, 250])
    assert rounded_up(lengths, Remainder(16)).tolist() == [14, 16, 16, 29, 32, 40, 48, 48, 120, 192, 208, 256]
    assert rounded_up(lengths, Remainder(16, 300)).tolist() == [14, 15, 16, 29, 30, 40, 48, 48, 120, 184, 200, 256]
    assert (rounded_up(lengths, Remainder()) == lengths).all()


@given(LENGTHS, st.integers(1, 2000), st.booleans(), st.sampled_from([1, 16]))
def test_padded_batches_hold_every_row_once(lengths: np.ndarray, budget: int, even: bool, step: int) -> None:
    flat = np.arange(1, lengths.sum() + 1, dtype=np.int32)
    starts, seen = np.cumsum(lengths) - lengths, []
    for batch in padded_batches(TokenizedTexts(flat, lengths), budget, fill=0, even=even, remainder=Remainder(step)):
        seen += batch.rows.tolist()
        assert (batch.mask is None) == (np.maximum(batch.lengths, 1).min() == batch.ids.shape[1])
        for row, ids, length in zip(batch.rows, batch.ids, batch.lengths, strict=True):
            assert ids[:length].tolist() == flat[starts[row] : starts[row] + length].tolist()
            assert not ids[length:].any()
    assert sorted(seen) == list(range(len(lengths)))


@given(LENGTHS.filter(len), st.randoms(use_true_random=False))
def test_gathered_rows_are_the_slices(lengths: np.ndarray, rng: np.random.Generator) -> None:
    flat = np.arange(1, lengths.sum() + 1, dtype=np.int32)
    starts = np.cumsum(lengths) - lengths
    rows = np.array(rng.sample(range(len(lengths)), k=min(5, len(lengths))))
    width = int(np.maximum(lengths[rows], 1).max())
    padded = gather_padded(flat, starts[rows], lengths[rows], width, fill=-7)
    assert padded.shape == (len(rows), width)
    for row, found in zip(rows, padded, strict=True):
        expected = flat[starts[row] : starts[row] + lengths[row]]
        assert found[: lengths[row]].tolist() == expected.tolist()
        assert (found[lengths[row] :] == -7).all()
