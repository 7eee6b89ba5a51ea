"""Search with FAISS against brute force: precisions, ties, blocks, and what is refused."""

from __future__ import annotations

import builtins
import logging
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray import quantization_ranges, quantize_embeddings
from st_ray.core.errors import ResourceError
from st_ray.scoring.quantization import dequantize_embeddings
from st_ray.search import faiss_search
from st_ray.search.faiss_search import PRECISIONS, semantic_search_faiss

DIMENSION = 21
ROWS = np.random.default_rng(3).normal(size=(66, DIMENSION)).astype(np.float32)
QUERIES, CORPUS = ROWS[:6], ROWS[6:]
RANGES = quantization_ranges(CORPUS)


def quantized(precision: str, rows: np.ndarray = CORPUS) -> np.ndarray:
    found = quantize_embeddings(rows, precision, ranges=RANGES)
    assert isinstance(found, np.ndarray)
    return found


def search(queries: Any = QUERIES, corpus: Any = None, precision: str = "float32", **options: Any) -> list[Any]:
    corpus = quantized(precision) if corpus is None and "corpus_index" not in options else corpus
    options.setdefault("ranges", RANGES)
    return semantic_search_faiss(queries, corpus, corpus_precision=precision, **options)[0]


def ids(hits: list[Any]) -> list[list[int]]:
    return [[hit["corpus_id"] for hit in of_query] for of_query in hits]


def scores(hits: list[Any]) -> np.ndarray:
    return np.array([[hit["score"] for hit in of_query] for of_query in hits])


def best(matrix: np.ndarray, k: int) -> list[list[int]]:
    """The columns with the greatest numbers, smaller ones first among equals."""
    return np.argsort(-matrix, axis=1, kind="stable")[:, :k].tolist()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rescored_by_what_the_codes_mean(precision: str) -> None:
    floats = dequantize_embeddings(quantized(precision), precision, RANGES)[:, :DIMENSION]
    expected = QUERIES.astype(np.float64) @ floats.T.astype(np.float64)
    hits = search(precision=precision, top_k=9, rescore_multiplier=100)
    assert ids(hits) == best(expected, 9)
    np.testing.assert_allclose(scores(hits), -np.sort(-expected)[:, :9], rtol=1e-5)


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_steps_are_compared_as_they_are(precision: str) -> None:
    expected = quantized(precision, QUERIES).astype(np.int64) @ quantized(precision).astype(np.int64).T
    hits = search(precision=precision, rescore=False)
    assert ids(hits) == best(expected, 10)
    assert scores(hits).tolist() == (-np.sort(-expected)[:, :10]).tolist()


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_bits_are_counted(precision: str) -> None:
    distances = ((QUERIES[:, None] > 0) != (CORPUS > 0)).sum(axis=2)
    hits = search(precision=precision, rescore=False, top_k=30)
    assert ids(hits) == best(-distances, 30)
    assert scores(hits).tolist() == np.sort(distances)[:, :30].tolist()


@pytest.mark.parametrize("rescore", [True, False])
@pytest.mark.parametrize("exact", [True, False])
def test_signed_bits_are_the_unsigned_ones(exact: bool, rescore: bool) -> None:
    options = {"exact": exact, "rescore": rescore}
    assert search(precision="binary", **options) == search(precision="ubinary", **options)


@pytest.mark.parametrize(("one", "other"), [("int8", "uint8"), ("binary", "ubinary")])
def test_codes_of_the_other_sign(one: str, other: str) -> None:
    expected = search(quantized(one, QUERIES), precision=one)
    assert search(quantized(other, QUERIES), quantized(other), precision=one) == expected


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(1, 45),
    st.sampled_from(PRECISIONS),
    st.booleans(),
    st.booleans(),
)
def test_ties_go_to_the_smaller_id(rows: int, kinds: int, k: int, precision: str, rescore: bool, narrow: bool) -> None:
    # Few different rows, small whole numbers: all sums are exact.
    rng = np.random.default_rng(rows)
    corpus = rng.integers(-2, 3, size=(kinds, 8))[rng.integers(0, kinds, rows)].astype(np.float32)
    queries = rng.integers(-2, 3, size=(5, 8)).astype(np.float32)
    ranges = np.array([[-128.0] * 8, [127.0] * 8])
    codes = quantize_embeddings(corpus, precision, ranges=ranges)
    with pytest.MonkeyPatch.context() as patch:
        if narrow:
            patch.setattr(faiss_search, "_CHUNK_BYTES", 1)
        hits = search(queries, codes, precision, ranges=ranges, top_k=k, rescore=rescore, rescore_multiplier=rows)
    if precision in ("binary", "ubinary"):
        bits = (corpus > 0).astype(np.float32)
        expected = queries @ bits.T if rescore else -np.abs((queries[:, None] > 0) - bits[None]).sum(axis=2)
    else:
        shift = 128 if precision == "uint8" and not rescore else 0
        expected = (queries + shift) @ (corpus + shift).T
    assert ids(hits) == best(expected, k)


def test_ties_beyond_the_last_place() -> None:
    corpus = np.concatenate([CORPUS, np.repeat(CORPUS[:1], 500, axis=0)])
    many = np.repeat(CORPUS[:1], 30, axis=0)
    assert ids(search(many, corpus, top_k=3)) == [[0, 60, 61]] * 30


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["list", "tensor", "vector", "rows apart", "column-major"])
def test_kinds_of_input(kind: str, precision: str) -> None:
    corpus, queries = quantized(precision), QUERIES
    given: dict[str, tuple[Any, Any]] = {
        "list": (queries.tolist(), corpus.tolist()),
        "tensor": (torch.tensor(queries, requires_grad=True), torch.tensor(corpus)),
        "vector": (queries[0], corpus),
        "rows apart": (np.repeat(queries, 2, axis=0)[::2], np.repeat(corpus, 2, axis=1)[:, ::2]),
        "column-major": (np.asfortranarray(queries), np.asfortranarray(corpus)),
    }
    expected = search(queries[:1] if kind == "vector" else queries, corpus, precision)
    found = search(*given[kind], precision)
    assert ids(found) == ids(expected)
    np.testing.assert_allclose(scores(found), scores(expected), rtol=1e-6)


def test_short_floats() -> None:
    halves = torch.tensor(CORPUS).bfloat16()
    expected = search(QUERIES, halves.float().numpy())
    assert ids(search(torch.tensor(QUERIES), halves)) == ids(expected)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("exact", [True, False])
def test_more_asked_than_there_is(precision: str, exact: bool) -> None:
    hits = search(QUERIES, quantized(precision)[:4], precision, exact=exact)
    assert [sorted(found) for found in ids(hits)] == [[0, 1, 2, 3]] * 6


@pytest.mark.parametrize("precision", PRECISIONS)
def test_nothing(precision: str) -> None:
    assert search([], precision=precision) == []
    assert search(QUERIES, [], precision) == [[]] * 6
    hits, _, index = semantic_search_faiss([], [], corpus_precision=precision, output_index=True)
    assert (hits, index.ntotal) == ([], 0)


@pytest.mark.parametrize("precision", ["uint8", "ubinary"])
def test_other_indexes_with_ids_of_their_own(precision: str) -> None:
    codes, numbers = quantized(precision), np.arange(60) + 1000
    if precision == "uint8":
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(DIMENSION))
        index.add_with_ids(codes.astype(np.float32), numbers)
    else:
        index = faiss.IndexBinaryIDMap2(faiss.IndexBinaryFlat(8 * codes.shape[1]))
        index.add_with_ids(codes, numbers)
    expected = search(precision=precision, rescore_multiplier=9)
    found = search(corpus_index=index, precision=precision, rescore_multiplier=9)
    assert ids(found) == [[number + 1000 for number in of_query] for of_query in ids(expected)]
    assert scores(found).tolist() == scores(expected).tolist()


def test_distances_come_nearest_first() -> None:
    index = faiss.IndexFlatL2(DIMENSION)
    index.add(np.concatenate([CORPUS, CORPUS]))
    distances = ((QUERIES[:, None] - np.concatenate([CORPUS, CORPUS])) ** 2).sum(axis=2)
    assert ids(search(corpus_index=index, top_k=5)) == best(-distances.round(4), 5)


def test_warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    search()
    search(precision="uint8")
    search(quantized("uint8", QUERIES), precision="uint8", rescore=False)
    assert not caplog.messages
    search(quantized("uint8", QUERIES), precision="uint8")
    search(precision="uint8", ranges=None)
    assert [message.partition(" ")[0] for message in caplog.messages] == ["quantized", "the"]


def index_without_vectors() -> Any:
    index = faiss.IndexIDMap(faiss.IndexFlatIP(DIMENSION))
    index.add_with_ids(quantized("uint8").astype(np.float32), np.arange(60))
    return index


UINT8 = {"corpus_precision": "uint8", "ranges": RANGES}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "neither corpus nor index": ({"corpus_embeddings": None}, "either corpus_embeddings or corpus_index"),
    "both": ({"corpus_index": faiss.IndexFlatIP(DIMENSION)}, "either corpus_embeddings or corpus_index"),
    "precision": ({"corpus_precision": "float16"}, "unknown corpus_precision 'float16'"),
    "no hits": ({"top_k": 0}, "top_k must be a whole number from 1 on, not 0"),
    "no candidates": ({"rescore_multiplier": -1}, "rescore_multiplier must be"),
    "half a candidate": ({"rescore_multiplier": 1.5}, "rescore_multiplier must be"),
    "NaN": ({"query_embeddings": np.array([[0.0], [np.nan]])}, "query_embeddings: row 1 holds NaN"),
    "infinite": ({"corpus_embeddings": CORPUS * np.inf}, "corpus_embeddings: row 0 holds NaN or an infinite"),
    "dimension": ({"query_embeddings": QUERIES[:, 1:]}, "20 columns and the corpus 21"),
    "bits": ({"corpus_embeddings": quantized("ubinary")[:, 1:], "corpus_precision": "ubinary"}, "3 columns and"),
    "floats": ({**UINT8}, r"float32 and no uint8 codes; pass quantize_embeddings\(corpus_embeddings, 'uint8'\)"),
    "large numbers": ({"corpus_embeddings": [[256] * DIMENSION], **UINT8}, "int64 and no uint8 codes"),
    "three dimensions": ({"query_embeddings": QUERIES[None]}, r"\[n, d\].*found \(1, 6, 21\)"),
    "no dimensions": ({"query_embeddings": QUERIES[:, :0]}, r"found \(6, 0\)"),
    "one query without ranges": (
        {"query_embeddings": QUERIES[0], "corpus_embeddings": quantized("uint8"), "corpus_precision": "uint8"},
        "pass the ranges that the uint8 corpus was made with",
    ),
    "index of bits": ({"corpus_embeddings": None, "corpus_index": faiss.IndexBinaryFlat(24)}, "not hold float32"),
    "no vectors": ({"corpus_embeddings": None, "corpus_index": index_without_vectors(), **UINT8}, "pass rescore=False"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    options, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        semantic_search_faiss(**{"query_embeddings": QUERIES, "corpus_embeddings": CORPUS, **options})


def test_no_index_at_all() -> None:
    with pytest.raises(TypeError, match="must be an index of FAISS, not str"):
        semantic_search_faiss(QUERIES, corpus_index="corpus.faiss")
    with pytest.raises(TypeError, match="must be real numbers, not complex64"):
        semantic_search_faiss(QUERIES.astype(np.complex64), CORPUS)


def test_faiss_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == "faiss":
            raise ModuleNotFoundError("No module named 'faiss'")
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ResourceError, match=r"pip install 'st-ray\[cpu\]'"):
        semantic_search_faiss(QUERIES, CORPUS)
