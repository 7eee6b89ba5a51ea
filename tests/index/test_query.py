"""Searching: scores of the project's conventions, padding, ties, and parameters that reach every layer."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from st_ray.core.errors import InputError
from st_ray.index.build import fill
from st_ray.index.files import index_bytes, index_from_bytes
from st_ray.index.library import ivf_layer, layers
from st_ray.index.query import keep_parameter, search_index
from st_ray.scoring.similarity import similarity_of
from tests.index.kinds import EXACT, MERGED, PARTS_ONLY, ROWS, SIMILARITIES, filled, spec_of, trained, vectors


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "IVF8_HNSW4,Flat", "HNSW16"])
@pytest.mark.parametrize("queries", [15, 60])  # faiss multiplies matrices from 20 on
def test_it_equals_brute_force(factory: str, similarity: str, queries: int) -> None:
    asked = vectors(seed=9)[:queries]
    expected = similarity_of(similarity).score(asked, vectors()).numpy()
    order = np.argsort(-expected, axis=1, kind="stable")[:, :10]
    scores, positions = search_index(filled(factory, similarity), spec_of(factory, similarity), asked, 10, 400)
    assert (scores.dtype, positions.dtype) == (np.float32, np.int64)
    if factory == "HNSW16":
        assert (positions == order).mean() > (0.7 if similarity == "dot" else 0.95)
    else:
        np.testing.assert_array_equal(positions, order)
        np.testing.assert_allclose(scores, np.take_along_axis(expected, order, axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factory", ["BFlat", "BIVF8", "BHNSW8"])
def test_bits_by_their_negated_hamming_distance(factory: str) -> None:
    asked = vectors(True, seed=9)[:15]
    distances = np.unpackbits(asked[:, None] ^ vectors(True)[None], axis=2).sum(axis=2, dtype=np.int64)
    scores, positions = search_index(filled(factory), spec_of(factory), asked, 10, 400)
    np.testing.assert_array_equal(scores, -np.sort(distances, axis=1)[:, :10].astype(np.float32))
    np.testing.assert_array_equal(-np.take_along_axis(distances, positions, axis=1), scores)


@pytest.mark.parametrize("factory", [*MERGED, *PARTS_ONLY])
def test_short_lists_are_padded(factory: str) -> None:
    spec = spec_of(factory)
    index = fill(spec, trained(factory), [(0, vectors(spec.binary)[:3])])
    scores, positions = search_index(index, spec, vectors(spec.binary)[:2], 5, 8)
    np.testing.assert_array_equal(np.sort(positions[:, :3], axis=1), [[0, 1, 2]] * 2)
    np.testing.assert_array_equal(positions[:, 3:], -1)
    assert np.isneginf(scores[:, 3:]).all()
    assert np.isfinite(scores[:, :3]).all()
    empty = search_index(index_from_bytes(trained(factory), "here"), spec, vectors(spec.binary)[:2], 5, 8)
    assert (empty[1] == -1).all()


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("factory", EXACT)
def test_equal_scores_by_the_smaller_position(factory: str, similarity: str) -> None:
    spec = spec_of(factory, similarity)
    rows = np.tile(vectors(spec.binary)[:4], (3, 1))
    index = fill(spec, trained(factory, similarity), [(0, rows)])
    scores, positions = search_index(index, spec, rows[:4], 12, 8)
    for row_scores, row in zip(scores, positions, strict=True):
        np.testing.assert_array_equal(row, row[np.lexsort((row, -row_scores))])
        np.testing.assert_array_equal(np.sort(row), np.arange(12))


@pytest.mark.parametrize("factory", ["IVF8,Flat", "OPQ4_8,IVF8,PQ4x4", "IVF8,PQ4x4fs", "IVF8_HNSW4,Flat", "HNSW8"])
def test_the_parameter_widens_the_search_and_leaves_the_index_alone(factory: str) -> None:
    spec, index = spec_of(factory), filled(factory)
    before = index_bytes(index)
    asked = vectors(seed=9)[:50]
    truth = search_index(filled("Flat"), spec_of("Flat"), asked, 10)[1]
    widest = search_index(index, spec, asked, 10, 400)[1]
    narrow = search_index(index, spec, asked, 10, 1)[1]
    assert shared(narrow, truth) < shared(widest, truth) - 0.02
    assert index_bytes(index) == before
    own = search_index(index, spec, asked, 10)[1]
    default = search_index(index, spec, asked, 10, {"nprobe": 1, "efSearch": 16}[spec.search_parameter or ""])[1]
    np.testing.assert_array_equal(own, default)


def test_a_refinement_compares_the_vectors_themselves() -> None:
    factory = "IVF8,PQ8x4fs,RFlat"
    asked = vectors(seed=9)[:50]
    truth = search_index(filled("Flat"), spec_of("Flat"), asked, 10)
    scores, positions = search_index(filled(factory), spec_of(factory), asked, 10, 8)
    assert shared(positions, truth[1]) > 0.95
    np.testing.assert_allclose(scores[:, 0], truth[0][:, 0], rtol=1e-5)


def test_the_graph_over_centroids_looks_at_enough_of_them() -> None:
    factory = "IVF128_HNSW4,Flat"
    asked = vectors(seed=9)
    truth = search_index(filled("Flat"), spec_of("Flat"), asked, 10)[1]
    assert shared(search_index(filled(factory), spec_of(factory), asked, 10, 128)[1], truth) > 0.99


@pytest.mark.parametrize("factory", ["IVF8,Flat", "OPQ4_8,IVF8,PQ4x4", "IVF8_HNSW4,Flat", "HNSW8", "BIVF8", "Flat"])
def test_faiss_alone_searches_with_the_kept_parameter(factory: str) -> None:
    spec, index = spec_of(factory), filled(factory)
    asked = vectors(spec.binary, seed=9)[:15]
    expected = search_index(index, spec, asked, 10, 5)
    keep_parameter(index, 5)
    reopened = index_from_bytes(index_bytes(index), "here")
    found = search_index(reopened, spec, asked, 10)
    np.testing.assert_array_equal(found[1], expected[1])
    if (ivf := ivf_layer(reopened)) is not None:
        assert ivf.nprobe == 5


def test_threads_are_given_back() -> None:
    before = faiss.omp_get_max_threads()
    search_index(filled("Flat"), spec_of("Flat"), vectors(), 3, threads=before + 1)
    assert faiss.omp_get_max_threads() == before


def test_no_queries() -> None:
    scores, positions = search_index(filled("Flat"), spec_of("Flat"), vectors()[:0], 3)
    assert scores.shape == positions.shape == (0, 3)


def test_what_cannot_be_searched() -> None:
    index, spec = filled("IVF8,Flat"), spec_of("IVF8,Flat")
    bad = vectors().copy()
    bad[4, 0] = np.nan
    with pytest.raises(InputError, match="query 4 holds NaN"):
        search_index(index, spec, bad, 3)
    with pytest.raises(InputError, match=r"\(400, 3\); the index has 16 dimensions"):
        search_index(index, spec, vectors()[:, :3], 3)
    for k, parameter in ((0, None), (-1, None), (3, 0)):
        with pytest.raises(ValueError, match="must be 1 or more"):
            search_index(index, spec, vectors(), k, parameter)


def test_layers_have_their_own_classes() -> None:
    names = [type(layer).__name__ for layer in layers(filled("IVF8,PQ8x4fs,RFlat"))]
    assert names == ["IndexIDMap", "IndexRefineFlat", "IndexIVFPQFastScan"]
    assert filled("Flat").ntotal == ROWS


def shared(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([np.isin(row, right).mean() for row, right in zip(found, truth, strict=True)]))
