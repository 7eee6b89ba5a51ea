"""`semantic_search`: the same whatever the chunks, the container and the function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from st_ray import cos_sim, dot_score, euclidean_sim, manhattan_sim, semantic_search
from st_ray.search import semantic

FUNCTIONS = (cos_sim, dot_score, euclidean_sim, manhattan_sim)


@pytest.fixture
def corpus() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((60, 7), np.float32)


def ids(found: list[list[dict[str, Any]]]) -> list[list[int]]:
    return [[hit["corpus_id"] for hit in hits] for hits in found]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_chunks_and_containers_change_nothing(function: Any, corpus: np.ndarray) -> None:
    queries = corpus[:9] + 0.1
    whole = semantic_search(queries, corpus, top_k=5, score_function=function)
    for query_chunk, corpus_chunk in ((1, 1), (4, 7), (100, 59), (3, 1000)):
        assert whole == semantic_search(queries, corpus, query_chunk, corpus_chunk, 5, function)
    assert whole == semantic_search(
        torch.from_numpy(queries), torch.from_numpy(corpus), top_k=5, score_function=function
    )
    assert whole == semantic_search(queries.tolist(), list(corpus), top_k=5, score_function=function)
    assert whole[:1] == semantic_search(queries[0], corpus, top_k=5, score_function=function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_sparse_tensors_and_other_functions(function: Any, corpus: np.ndarray) -> None:
    whole = semantic_search(corpus[:5], corpus, top_k=6, score_function=function)
    sparse = torch.from_numpy(corpus).to_sparse()
    asked = sparse.index_select(0, torch.arange(5))
    for found in (
        semantic_search(asked, sparse, 2, 11, 6, function),
        semantic_search(corpus[:5], corpus, 2, 11, 6, lambda a, b: function(a, b)),
    ):
        assert ids(found) == ids(whole)
        np.testing.assert_allclose(
            [hit["score"] for hits in found for hit in hits],
            [hit["score"] for hits in whole for hit in hits],
            rtol=1e-5,
            atol=2e-3,  # euclidean_sim computes distances from products
        )


def test_many_queries_are_scanned_some_at_a_time(corpus: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = semantic_search(corpus, corpus, top_k=4)
    monkeypatch.setattr(semantic, "_QUERIES", 7)
    assert semantic_search(corpus, corpus, top_k=4) == whole


def test_ties_go_to_the_smaller_id() -> None:
    corpus = np.ones((300, 4), np.float32)
    for function in (*FUNCTIONS, lambda a, b: dot_score(a, b)):
        found = semantic_search(corpus[:2], corpus, corpus_chunk_size=13, top_k=20, score_function=function)
        assert ids(found) == [list(range(20))] * 2


def test_more_asked_than_there_is_and_nothing_there(corpus: np.ndarray) -> None:
    assert [len(hits) for hits in semantic_search(corpus[:2], corpus[:3], top_k=10)] == [3, 3]
    assert semantic_search(corpus[:2], corpus[:0]) == [[], []]
    assert semantic_search(corpus[:2], []) == [[], []]
    assert semantic_search([], corpus) == []
    assert semantic_search(corpus[:0], corpus) == []


def test_gradients_do_not_disturb(corpus: np.ndarray) -> None:
    query = torch.from_numpy(corpus[:1]).requires_grad_()
    assert semantic_search(query, corpus) == semantic_search(corpus[:1], corpus)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 0}, "top_k must be 1 or more, not 0"),
        ({"query_chunk_size": 0}, "query_chunk_size must be 1"),
        ({"corpus_chunk_size": -1}, "corpus_chunk_size must be 1"),
        ({"query_embeddings": np.ones((2, 3))}, r"shape \(60, 7\) with queries of shape \(2, 3\)"),
        ({"query_embeddings": np.full((2, 7), np.nan)}, "a query is not finite"),
        ({"corpus_embeddings": np.full((2, 7), np.inf)}, "not finite"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], message: str, corpus: np.ndarray) -> None:
    with pytest.raises(ValueError, match=message):
        semantic_search(**{"query_embeddings": corpus[:2], "corpus_embeddings": corpus, **change})
