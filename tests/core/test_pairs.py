"""Pairs: what rows pick from any part, and what may be dropped before the rest is known."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.pairs import Pairs, best, canonical, concatenated, merged, picks, safe_floor


def drawn(rng: np.random.Generator, rows: int, share: float) -> Pairs:
    """Some of the pairs of `rows` rows, with many equal scores."""
    first, second = np.triu_indices(rows, 1)
    taken = rng.permutation(np.flatnonzero(rng.random(len(first)) < share))
    return Pairs(first[taken], second[taken], rng.integers(0, 6, len(taken)).astype(np.float32))


def picked_by(pairs: Pairs, k: int) -> list[set[int]]:
    """Places in `pairs` that each row picks."""
    rows = max(pairs.second, default=-1) + 1
    found = []
    for row in range(rows):
        places = [p for p in range(len(pairs)) if row in (pairs.first[p], pairs.second[p])]
        places.sort(key=lambda p: (-pairs.scores[p], pairs.first[p] + pairs.second[p] - row))
        found.append(set(places[:k]))
    return found


LAW = {
    "rows": st.integers(2, 12),
    "share": st.sampled_from([0.1, 0.5, 1.0]),
    "k": st.integers(1, 12),
    "seed": st.integers(0, 2**32 - 1),
}


@settings(deadline=None)
@given(**LAW)
def test_picks_are_those_of_each_row(rows: int, share: float, k: int, seed: int) -> None:
    pairs = drawn(np.random.default_rng(seed), rows, share)
    expected = picked_by(pairs, k)
    found = picks(pairs, k)
    assert found.counts.tolist() == [sum(place in row for row in expected) for place in range(len(pairs))]
    full = [row for row in range(len(expected)) if len(expected[row]) == k]
    assert found.full.tolist() == full
    assert found.least.tolist() == [min(pairs.scores[list(expected[row])]) for row in full]


@settings(deadline=None)
@given(max_pairs=st.integers(1, 20), **LAW)
def test_the_floor_that_a_part_gives_holds_for_all(rows: int, share: float, k: int, seed: int, max_pairs: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = drawn(rng, rows, share)
    part = pairs[rng.random(len(pairs)) < 0.7]
    floor = safe_floor(part.scores, picks(part, k).counts, max_pairs)
    chosen = best(pairs[picks(pairs, k).counts > 0], max_pairs)
    assert floor == -np.inf or (len(chosen) == max_pairs and chosen.scores[-1] >= floor)


def test_the_floor_is_one_of_the_scores_where_enough_is_known() -> None:
    scores = np.array([5, 4, 3, 2, 1], np.float32)
    assert safe_floor(scores, np.full(5, 2, np.uint8), 3) == 3
    assert safe_floor(scores, np.array([1, 2, 1, 0, 2], np.uint8), 3) == 1
    assert safe_floor(scores, np.full(5, 2, np.uint8), 6) == -np.inf


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=3), **LAW)
def test_parts_that_overlap_merge_to_the_same(rows: int, share: float, k: int, seed: int, cuts: list[int]) -> None:
    pairs = drawn(np.random.default_rng(seed), rows, share)
    parts = [pairs[: cut + 5] for cut in cuts] + [pairs[cut:] for cut in cuts] + [pairs]
    whole, found = merged([pairs]), merged(parts)
    for column in ("first", "second", "scores"):
        np.testing.assert_array_equal(getattr(found, column), getattr(whole, column))
    assert len(found) == len(pairs)
    kept = best(found, k)
    expected = sorted(zip(-pairs.scores, pairs.first, pairs.second, strict=True))[:k]
    assert list(zip(-kept.scores, kept.first, kept.second, strict=True)) == expected


def test_pairs_turn_round_and_rows_are_not_their_own_partners() -> None:
    found = canonical(np.array([3, 1, 2]), np.array([1, 2, 2]), np.array([0.5, 0.25, 1.0], np.float32))
    assert (found.first.tolist(), found.second.tolist(), found.scores.tolist()) == ([1, 1], [3, 2], [0.5, 0.25])
    assert len(concatenated([])) == len(merged([])) == len(best(concatenated([]), 3)) == 0
    assert len(picks(concatenated([]), 3).counts) == 0
