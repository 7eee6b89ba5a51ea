"""TopK: any cut of the corpus, any order of blocks, gives what one sort gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_ray.scoring.topk import PADDING, TopK


@given(
    st.integers(0, 40),
    st.integers(1, 50),
    st.lists(st.integers(0, 40), max_size=6),
    st.integers(0, 2**32 - 1),
)
def test_any_cut_equals_one_sort(corpus: int, k: int, cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, (3, corpus)).astype(np.float32)  # few values: many ties
    bounds = sorted({0, corpus, *(cut for cut in cuts if cut <= corpus)})
    blocks = list(itertools.pairwise(bounds))
    rng.shuffle(blocks)
    best = TopK(3, k)
    for first, last in blocks:
        best.absorb(scores[:, first:last], first)
    found_scores, found_ids = best.padded()
    for query in range(3):
        order = np.lexsort((np.arange(corpus), -scores[query]))[:k]
        np.testing.assert_array_equal(found_ids[query, : len(order)], order)
        np.testing.assert_array_equal(found_scores[query, : len(order)], scores[query][order])
        assert set(found_ids[query, len(order) :].tolist()) <= {PADDING}


def test_padding_never_leaves() -> None:
    best = TopK(1, 3)
    best.merge(np.array([[9.0, 0.5]]), np.array([[PADDING, 7]]))
    scores, ids = best.padded()
    assert (scores[0].tolist(), ids[0].tolist()) == ([0.5, -np.inf, -np.inf], [7, PADDING, PADDING])


def test_k_must_be_positive() -> None:
    with pytest.raises(ValueError, match="k must be 1 or more"):
        TopK(1, 0)
