"""`semantic_search` beside the peer's: the same hits away from ties, and the same scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import util as peer

import st_ray

FUNCTIONS = ("cos_sim", "dot_score", "euclidean_sim", "manhattan_sim")


def assert_same(ours: list[list[dict[str, Any]]], theirs: list[list[dict[str, Any]]], atol: float) -> None:
    assert [len(hits) for hits in ours] == [len(hits) for hits in theirs]
    for found, expected in zip(ours, theirs, strict=True):
        scores = np.array([hit["score"] for hit in found])
        np.testing.assert_allclose(scores, [hit["score"] for hit in expected], rtol=1e-5, atol=atol)
        for one, other, score in zip(found, expected, scores, strict=True):
            # Neighbours closer than rounding may change places, also with one behind the last place.
            near = np.abs(scores - score) <= 2 * atol
            assert one["corpus_id"] == other["corpus_id"] or near.sum() > 1 or near[-1]
        assert all(type(hit["corpus_id"]) is int and type(hit["score"]) is float for hit in found)


@settings(deadline=None, max_examples=40)
@given(
    function=st.sampled_from(FUNCTIONS),
    queries=st.integers(1, 30),
    rows=st.integers(1, 400),
    dimension=st.integers(1, 64),
    k=st.integers(1, 450),
    chunks=st.tuples(st.integers(1, 40), st.integers(1, 500)),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_four_functions(
    function: str, queries: int, rows: int, dimension: int, k: int, chunks: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    corpus = torch.from_numpy(rng.standard_normal((rows, dimension), np.float32))
    asked = torch.from_numpy(rng.standard_normal((queries, dimension), np.float32))
    ours = st_ray.semantic_search(asked, corpus, *chunks, k, getattr(st_ray, function))
    theirs = peer.semantic_search(asked, corpus, *chunks, k, getattr(peer, function))
    assert_same(ours, theirs, atol=2e-3 if function == "euclidean_sim" else 1e-5)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_real_embeddings(function: str, minilm: str) -> None:
    texts = [f"{word} number {number}" for number in range(40) for word in ("apple", "river", "engine", "poem")]
    embeddings = st_ray.BiEncoder(minilm).encode(texts, convert_to_tensor=True)
    ours = st_ray.semantic_search(embeddings[3], embeddings, top_k=20, score_function=getattr(st_ray, function))
    theirs = peer.semantic_search(embeddings[3], embeddings, top_k=20, score_function=getattr(peer, function))
    assert_same(ours, theirs, atol=2e-3 if function == "euclidean_sim" else 2e-6)
