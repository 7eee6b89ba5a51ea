"""Search with FAISS finds what the peer finds, with the peer's scores, in every precision that the peer takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
import pytest
from sentence_transformers.quantization import quantize_embeddings
from sentence_transformers.quantization import semantic_search_faiss as by_peer

from st_ray.search.faiss_search import semantic_search_faiss

PRECISIONS = ["float32", "uint8", "ubinary"]
QUERIES, ROWS = 7, 300


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """With several, FAISS builds another graph each time."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


def sides(dimension: int, precision: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Float queries, the corpus in `precision`, and what both functions must know of it."""
    rows = np.random.default_rng(dimension).normal(0.2, 1, size=(QUERIES + ROWS, dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries, corpus = rows[:QUERIES], rows[QUERIES:]
    ranges = np.stack([corpus.min(axis=0), corpus.max(axis=0)])
    options = {"corpus_precision": precision, "ranges": ranges if precision == "uint8" else None}
    return queries, quantize_embeddings(corpus, precision, ranges=ranges), options


def assert_same(queries: Any, corpus: Any = None, **options: Any) -> None:
    """The same scores in the same order, and the same ids but among those that share the last score."""
    expected, _ = by_peer(queries, corpus, **options)
    found, seconds = semantic_search_faiss(queries, corpus, **options)
    assert seconds > 0
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        scores = [np.array([hit["score"] for hit in hits]) for hits in (one, other)]
        np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5, atol=1e-7)
        assert {type(value) for hit in one for value in hit.values()} <= {int, float}
        last = scores[1][-1] if len(other) else 0.0
        near = [{hit["corpus_id"] for hit in hits if abs(hit["score"] - last) > 1e-6} for hits in (one, other)]
        assert near[0] == near[1]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("rescore", [True, False])
@pytest.mark.parametrize("dimension", [24, 45])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_precisions(precision: str, dimension: int, rescore: bool, exact: bool) -> None:
    queries, corpus, options = sides(dimension, precision)
    for top_k, multiplier in [(1, 1), (10, 2), (10, 7), (ROWS + 5, 3)]:
        settings = {"top_k": top_k, "rescore_multiplier": multiplier, "rescore": rescore, "exact": exact}
        assert_same(queries, corpus, **settings, **options)


@pytest.mark.parametrize("rescore", [True, False])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_given_index(precision: str, exact: bool, rescore: bool) -> None:
    queries, corpus, options = sides(32, precision)
    *_, index = semantic_search_faiss(queries, corpus, exact=exact, output_index=True, **options)
    *_, of_peer = by_peer(queries, corpus, exact=exact, output_index=True, **options)
    assert type(index) is type(of_peer)
    for given in (index, of_peer):
        assert_same(queries, corpus_index=given, rescore=rescore, **options)


def test_given_index_of_cells() -> None:
    queries, corpus, options = sides(32, "uint8")
    index = faiss.index_factory(32, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(corpus.astype(np.float32))
    index.add(corpus.astype(np.float32))
    index.make_direct_map()
    assert_same(queries, corpus_index=index, **options)


@pytest.mark.parametrize("precision", ["uint8", "ubinary"])
def test_quantized_queries(precision: str) -> None:
    queries, corpus, options = sides(32, precision)
    assert_same(quantize_embeddings(queries, precision, ranges=options["ranges"]), corpus, **options)


@pytest.mark.parametrize("source", ["calibration", "queries"])
@pytest.mark.parametrize("rescore", [True, False])
def test_ranges(source: str, rescore: bool) -> None:
    queries, corpus, _ = sides(32, "uint8")
    calibration = {"calibration_embeddings": queries[:3] * 1.5} if source == "calibration" else {}
    assert_same(queries, corpus, corpus_precision="uint8", rescore=rescore, **calibration)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_dtypes_of_queries(dtype: type, precision: str) -> None:
    queries, corpus, options = sides(32, precision)
    assert_same(queries.astype(dtype), corpus, **options)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_nothing(precision: str, exact: bool) -> None:
    queries, corpus, options = sides(32, precision)
    assert_same(queries, corpus[:0], exact=exact, **options)
    # Where there are no queries to rescore for, the peer fails.
    assert_same(queries[:0], corpus, exact=exact, rescore=False, **options)
