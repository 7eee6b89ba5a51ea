"""`paraphrase_mining_embeddings` beside the peer's: the same pairs above the tie boundary, and the same scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import util as peer

import st_ray

FUNCTIONS = ("cos_sim", "dot_score", "manhattan_sim")
Found = list[list[float]]


def assert_same(ours: Found, theirs: Found, atol: float) -> None:
    assert len(ours) == len(theirs)
    np.testing.assert_allclose([p[0] for p in ours], [p[0] for p in theirs], rtol=1e-5, atol=atol)
    last = ours[-1][0] + 2 * atol if ours else 0.0
    clear = [{(i, j) for score, i, j in pairs if score > last} for pairs in (ours, theirs)]
    everything = [{(i, j) for _, i, j in pairs} for pairs in (ours, theirs)]
    assert clear[0] <= everything[1] and clear[1] <= everything[0]
    assert all(type(score) is float and type(i) is int and type(j) is int and i < j for score, i, j in ours)


@settings(deadline=None, max_examples=40)
@given(
    function=st.sampled_from(FUNCTIONS),
    rows=st.integers(2, 300),
    dimension=st.integers(4, 64),
    top_k=st.sampled_from([1, 5, 100, 400]),
    max_pairs=st.sampled_from([1, 50, 1000, 100_000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_real_numbers(function: str, rows: int, dimension: int, top_k: int, max_pairs: int, seed: int) -> None:
    embeddings = torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, dimension), np.float32))
    options = {"max_pairs": max_pairs, "top_k": top_k, "query_chunk_size": 37, "corpus_chunk_size": 50}
    ours = st_ray.paraphrase_mining_embeddings(embeddings, score_function=getattr(st_ray, function), **options)
    theirs = peer.paraphrase_mining_embeddings(embeddings, score_function=getattr(peer, function), **options)
    assert_same(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"max_pairs": 40}, {"prompt": "query: "}])
def test_real_texts(options: dict, minilm: str) -> None:
    texts = [f"{word} number {number}" for number in range(20) for word in ("apple", "river", "engine", "poem")]
    model = st_ray.BiEncoder(minilm)
    ours, theirs = (mine(model, texts, **options) for mine in (st_ray.paraphrase_mining, peer.paraphrase_mining))
    assert_same(ours, theirs, atol=1e-6)
