"""One way to search any index: higher scores are better, padding is -1, and nothing of the index is changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from st_ray.index.library import downcast, layers, load_faiss
from st_ray.index.rows import prepare_rows
from st_ray.index.spec import IndexSpec
from st_ray.scoring.topk import PADDING

_REFINE_FACTOR = 8
"""How many times k a refinement (`…,RFlat`) looks at again; faiss's own default of 1 refines nothing but the order."""
_LEAST_COARSE_EFFORT = 32


def search_index(
    index: Any, spec: IndexSpec, queries: np.ndarray, k: int, parameter: int | None = None, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest `k` vectors of `index` for each of `queries`, best first, equal scores by the smaller position.

    Which of several vectors with the k-th score are found is up to faiss.

    Args:
        queries: float32 `[q, d]`, or uint8 `[q, columns]` of bits.
        parameter: of `spec.search_parameter`; without one the index's own, which is 1 for `nprobe` and 16 for
            `efSearch`. Ignored where there is none.
        threads: for this search; without a number as many as faiss uses.

    Returns:
        Scores float32 `[q, k]` (cosine, dot product, negated distance, or negated Hamming distance of bits) and
        positions int64 `[q, k]`; where fewer were found, -inf and -1 fill up.

    Raises:
        InputError: queries of another dimension, or with NaN or infinity.
        ValueError: `k` or `parameter` is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}")
    if parameter is not None and parameter < 1:
        raise ValueError(f"{spec.search_parameter or 'the parameter'} must be 1 or more, not {parameter}")
    queries = prepare_rows(spec, queries, "query")
    if not len(queries):
        return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
    with _threads(threads):
        distances, positions = index.search(queries, k, params=_parameters(index, parameter))
    scores = np.where(positions == PADDING, -np.inf, _scores(distances, spec)).astype(np.float32)
    # -1 would come before the positions of real hits that overflowed to -inf.
    order = np.lexsort((positions, positions == PADDING, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(positions, order, axis=1)


def keep_parameter(index: Any, parameter: int) -> None:
    """Make `parameter` the one that `index`, and faiss alone when it opens its file, searches with by default."""
    inner = layers(index)[-1]
    if hasattr(inner, "nprobe"):
        inner.nprobe = parameter
        coarse = downcast(inner.quantizer)
        if hasattr(coarse, "hnsw"):
            coarse.hnsw.efSearch = _coarse_effort(parameter)
    elif hasattr(inner, "hnsw"):
        inner.hnsw.efSearch = parameter


def _scores(distances: np.ndarray, spec: IndexSpec) -> np.ndarray:
    if spec.binary:
        return -distances.astype(np.float32)
    # Rounding takes some squares of tiny distances below zero.
    return -np.sqrt(np.maximum(distances, 0)) if spec.similarity == "euclidean" else distances


def _parameters(index: Any, value: int | None) -> Any | None:
    """faiss's parameters for `index` and all that it wraps; None where its own will do."""
    faiss = load_faiss()
    found: Any | None = None
    for layer in reversed(layers(index)):
        if isinstance(layer, faiss.IndexRefine):
            found = faiss.IndexRefineSearchParameters(k_factor=_REFINE_FACTOR, base_index_params=found)
        elif isinstance(layer, faiss.IndexPreTransform):
            found = None if found is None else faiss.SearchParametersPreTransform(index_params=found)
        elif value is not None and hasattr(layer, "nprobe"):
            found = _ivf_parameters(layer, value)
        elif value is not None and hasattr(layer, "hnsw"):
            found = faiss.SearchParametersHNSW(efSearch=value)
    return found


def _ivf_parameters(ivf: Any, nprobe: int) -> Any:
    faiss = load_faiss()
    nprobe = min(nprobe, int(ivf.nlist))
    if not hasattr(downcast(ivf.quantizer), "hnsw"):
        return faiss.SearchParametersIVF(nprobe=nprobe)
    coarse = faiss.SearchParametersHNSW(efSearch=_coarse_effort(nprobe))
    return faiss.SearchParametersIVF(nprobe=nprobe, quantizer_params=coarse)


def _coarse_effort(nprobe: int) -> int:
    """efSearch of a graph over centroids that finds nearly all of the nearest `nprobe`."""
    return max(_LEAST_COARSE_EFFORT, 2 * nprobe)


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    faiss = load_faiss()
    before = faiss.omp_get_max_threads()
    if number is not None:
        faiss.omp_set_num_threads(number)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
