"""Search in memory with a FAISS index, over floats or over quantized embeddings that float queries rescore.

It has the arguments, the results and the numbers of the function of the same name in the documentation of Sentence
Transformers' embedding quantization.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from st_ray.index.library import load_faiss
from st_ray.scoring.quantization import (
    as_bits,
    dequantize_embeddings,
    packed_dimension,
    precision_dtype,
    quantization_ranges,
    quantize_embeddings,
)
from st_ray.scoring.tensors import to_tensor

PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")
"""What the corpus may be given in."""

_CODES = (np.dtype(np.int8), np.dtype(np.uint8))
_HNSW_LINKS = 16
_CHUNK_BYTES = 64 << 20
"""Room for what a search and its rescoring need beside their results."""


def semantic_search_faiss(
    query_embeddings: Any,
    corpus_embeddings: Any = None,
    corpus_index: Any = None,
    corpus_precision: str = "float32",
    top_k: int = 10,
    ranges: Any = None,
    calibration_embeddings: Any = None,
    rescore: bool = True,
    rescore_multiplier: int = 2,
    exact: bool = True,
    output_index: bool = False,
) -> tuple[Any, ...]:
    """The `top_k` corpus embeddings for each query, by a FAISS index of the corpus.

    Floats are compared by their dot products; int8 and uint8 by those of their codes, as they are; binary and ubinary
    by the number of bits that differ. Where the corpus is quantized and the queries are not, `top_k *
    rescore_multiplier` candidates are found so, and ordered by the dot product of the float query with what their
    codes stand for (bits: 0 and 1). Equal scores are ordered by the smaller id.

    Args:
        query_embeddings: `[q, d]` or `[d]`, floats; or int8 or uint8 codes of a corpus of that kind. Like all
            embeddings here, an array, a tensor or a list.
        corpus_embeddings: `[n, d]`, or `[n, packed_dimension]` for bits, in `corpus_precision`.
        corpus_index: a FAISS index in their stead. It holds int8 and uint8 codes as numbers, and bits as ubinary.
        corpus_precision: one of `PRECISIONS`.
        top_k: at most so many hits for a query.
        ranges: `[2, d]` that an int8 or uint8 corpus was quantized with.
        calibration_embeddings: `[m, d]` to take the ranges from where they are not given. Without either, the queries
            must do, and scores only resemble the true ones.
        rescore: whether to rescore.
        rescore_multiplier: candidates for each hit.
        exact: whether the index, where it is made here, compares all pairs; or is an HNSW graph with 16 links.
        output_index: whether to return the index too.

    Returns:
        For each query its hits, `{"corpus_id": int, "score": float}`, best first; the seconds that the search took
        with its rescoring; and the index, if asked for. Scores of bits that are not rescored are distances.

    Raises:
        ResourceError: FAISS is not installed.
        TypeError: embeddings are no numbers, or the index is none of FAISS.
        ValueError: not exactly one of corpus and index is given; an unknown precision; `top_k` or
            `rescore_multiplier` below 1; NaN or infinite embeddings; shapes, dtypes, precision or index that do not
            fit each other; ranges that would have to come from a single query; an index that keeps no vectors to
            rescore with.
    """
    faiss = load_faiss()
    if (corpus_embeddings is None) == (corpus_index is None):
        raise ValueError("pass either corpus_embeddings or corpus_index")
    _check_options(corpus_precision, top_k, rescore_multiplier)
    queries = _rows(query_embeddings, "query_embeddings")
    quantized = queries.dtype in _CODES
    if corpus_precision in ("int8", "uint8") and not quantized:
        ranges = _ranges(queries, corpus_precision, ranges, calibration_embeddings)
    codes = _for_faiss(_query_codes(queries, corpus_precision, ranges), corpus_precision)
    if corpus_index is None:
        corpus_index = _build(faiss, corpus_embeddings, corpus_precision, exact, codes.shape[1])
    index = _Index(faiss, corpus_index)
    index.check(codes, corpus_precision)
    rescore = rescore and corpus_precision != "float32"
    if rescore and quantized:
        logging.getLogger(__name__).warning("quantized queries cannot rescore; pass float queries, or rescore=False")
    rescore = rescore and not quantized
    begun = time.perf_counter()
    scores, ids = index.search(codes, top_k * rescore_multiplier if rescore else top_k)
    if rescore:
        scores, ids = _rescored(index, queries, ids, corpus_precision, ranges)
    seconds = time.perf_counter() - begun
    hits = _hits(scores[:, :top_k], ids[:, :top_k])
    return (hits, seconds, corpus_index) if output_index else (hits, seconds)


@dataclass(frozen=True)
class _Index:
    """An index of FAISS, of floats or of bits."""

    faiss: Any
    index: Any

    @property
    def is_binary(self) -> bool:
        return isinstance(self.index, self.faiss.IndexBinary)

    @property
    def falling(self) -> bool:
        """Whether higher scores are better."""
        return not self.is_binary and self.faiss.is_similarity_metric(self.index.metric_type)

    def check(self, queries: np.ndarray, precision: str) -> None:
        """Raise TypeError or ValueError unless the index can be searched for `queries` as it gets them."""
        if not isinstance(self.index, (self.faiss.Index, self.faiss.IndexBinary)):
            raise TypeError(f"corpus_index must be an index of FAISS, not {type(self.index).__name__}")
        if self.is_binary != (precision in ("binary", "ubinary")):
            raise ValueError(f"corpus_index is {type(self.index).__name__}, which does not hold {precision} embeddings")
        columns = self.index.code_size if self.is_binary else self.index.d
        if len(queries) and queries.shape[1] != columns:
            raise ValueError(
                f"in {precision}, the queries have {queries.shape[1]} columns and the corpus {columns}; "
                "both must come from the same model"
            )

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and ids `[q, min(k, n)]`, best first, ties by smaller id; an id of -1 is no hit."""
        k = min(k, self.index.ntotal)
        if not k or not len(queries):
            return np.empty((len(queries), k), np.float32), np.full((len(queries), k), -1, np.int64)
        if isinstance(self.index, self.faiss.IndexFlat):
            return self._search_flat(queries, k, k + 1)
        # Searched for more hits, a graph would walk further and find others.
        scores, ids = self.index.search(queries, k)
        return _ordered(scores, ids, self.falling)

    def _search_flat(self, queries: np.ndarray, k: int, asked: int) -> tuple[np.ndarray, np.ndarray]:
        """As `search`, from the best `asked`: FAISS keeps any of those that are equal in the last place."""
        scores, ids = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        asked = min(asked, self.index.ntotal)
        for rows in _chunks(len(queries), 12 * asked):
            more_scores, more_ids = self.index.search(queries[rows], asked)
            more_scores, more_ids = _ordered(more_scores, more_ids, self.falling)
            scores[rows], ids[rows] = more_scores[:, :k], more_ids[:, :k]
            tied = rows.start + np.flatnonzero((more_scores[:, k - 1] == more_scores[:, -1]) & (more_ids[:, -1] >= 0))
            if asked < self.index.ntotal and len(tied):
                scores[tied], ids[tied] = self._search_flat(queries[tied], k, 2 * asked)
        return scores, ids

    def vectors(self, ids: np.ndarray) -> np.ndarray:
        """What the index holds at `ids` int64 `[m]`: float32 `[m, d]`, or uint8 `[m, packed_dimension]` of bits."""
        try:
            return self._bits(ids) if self.is_binary else self.index.reconstruct_batch(ids)
        except RuntimeError as error:
            raise ValueError(
                f"{type(self.index).__name__} does not give back the vectors to rescore with; pass rescore=False, or "
                f"an index that does (IVF: after make_direct_map(), IDMap: IDMap2): {error}"
            ) from error

    def _bits(self, ids: np.ndarray) -> np.ndarray:
        index = self.index
        if isinstance(index, self.faiss.IndexBinaryHNSW):
            index = self.faiss.downcast_IndexBinary(index.storage)
        if isinstance(index, self.faiss.IndexBinaryFlat):
            stored = self.faiss.rev_swig_ptr(index.xb.data(), index.ntotal * index.code_size)
            return stored.reshape(index.ntotal, index.code_size)[ids]
        # Other kinds have no call for several vectors.
        unique, places = np.unique(ids, return_inverse=True)
        return np.stack([index.reconstruct(key) for key in unique.tolist()])[places]


def _build(faiss: Any, corpus: Any, precision: str, exact: bool, columns: int) -> Any:
    """An index of `corpus`; of `columns` where that has none, since it is empty."""
    rows = _for_faiss(_corpus_codes(_rows(corpus, "corpus_embeddings"), precision), precision)
    columns = rows.shape[1] or columns
    if precision in ("binary", "ubinary"):
        bits = 8 * columns
        index = faiss.IndexBinaryFlat(bits) if exact else faiss.IndexBinaryHNSW(bits, _HNSW_LINKS)
    elif exact:
        index = faiss.IndexFlatIP(columns)
    else:
        index = faiss.IndexHNSWFlat(columns, _HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    if len(rows):
        index.add(rows)
    return index


def _rescored(
    index: _Index, queries: np.ndarray, ids: np.ndarray, precision: str, ranges: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64 and ids `[q, k]`, best first: of float `queries` `[q, d]` with what the codes at `ids` mean."""
    (count, k), dimension = ids.shape, queries.shape[1]
    scores = np.zeros(ids.shape)
    for rows in _chunks(count, 12 * k * dimension) if ids.size else ():
        found = ids[rows]
        some = found.max()
        if some < 0:
            continue
        # Whatever stands in for missing hits keeps the id -1, and so never leaves.
        stored = index.vectors(np.where(found < 0, some, found).ravel())
        floats = dequantize_embeddings(stored, "ubinary" if index.is_binary else precision, ranges)
        candidates = floats.reshape(*found.shape, -1)[..., :dimension]
        scores[rows] = np.einsum("qkd,qd->qk", candidates, queries[rows], dtype=np.float64)
    return _ordered(scores, ids, falling=True)


def _ordered(scores: np.ndarray, ids: np.ndarray, falling: bool) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((ids, -scores if falling else scores, ids < 0), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)


def _hits(scores: np.ndarray, ids: np.ndarray) -> list[list[dict[str, Any]]]:
    return [
        [{"corpus_id": identity, "score": float(score)} for score, identity in zip(*row, strict=True) if identity >= 0]
        for row in zip(scores.tolist(), ids.tolist(), strict=True)
    ]


def _ranges(queries: np.ndarray, precision: str, ranges: Any, calibration: Any) -> Any:
    if ranges is not None or not len(queries):
        return ranges
    if calibration is not None:
        return quantization_ranges(calibration)
    if len(queries) == 1:
        raise ValueError(f"a single query gives no ranges; pass the ranges that the {precision} corpus was made with")
    logging.getLogger(__name__).warning(
        "the ranges of the %s corpus are guessed from %d queries; pass the ranges that it was quantized with",
        precision,
        len(queries),
    )
    return quantization_ranges(queries)


def _query_codes(queries: np.ndarray, precision: str, ranges: Any) -> np.ndarray:
    if not len(queries):
        return np.zeros((0, packed_dimension(queries.shape[1], precision)), precision_dtype(precision))
    if queries.dtype not in _CODES:
        return np.asarray(quantize_embeddings(queries, precision, ranges=ranges))
    return queries if precision == "float32" else _recoded(queries, precision_dtype(precision))


def _corpus_codes(corpus: np.ndarray, precision: str) -> np.ndarray:
    if precision == "float32":
        return corpus
    dtype = precision_dtype(precision)
    if corpus.dtype in _CODES:
        return _recoded(corpus, dtype)
    limits = np.iinfo(dtype)
    if corpus.size and (corpus.dtype.kind not in "iu" or corpus.min() < limits.min or corpus.max() > limits.max):
        raise ValueError(
            f"corpus_embeddings are {corpus.dtype} and no {precision} codes; "
            f"pass quantize_embeddings(corpus_embeddings, {precision!r})"
        )
    return corpus.astype(dtype)


def _recoded(codes: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """int8 as uint8 or the reverse: the same steps or bits, shifted by 128."""
    return codes if codes.dtype == dtype else (codes.view(np.uint8) ^ 0x80).view(dtype)


def _for_faiss(codes: np.ndarray, precision: str) -> np.ndarray:
    if precision in ("binary", "ubinary"):
        return np.ascontiguousarray(as_bits(codes))
    return np.ascontiguousarray(codes, np.float32)


def _rows(values: Any, name: str) -> np.ndarray:
    """`values` as numbers `[n, d]`; a vector is one row, and `[]` none."""
    if isinstance(values, np.ndarray):
        array = values
    else:
        tensor = to_tensor(values).detach().cpu().to_dense()
        short = tensor.is_floating_point() and tensor.element_size() < 4
        array = (tensor.float() if short else tensor).numpy()
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers, not {array.dtype}")
    if array.ndim == 1:
        array = array.reshape(min(array.size, 1), array.size)
    if array.ndim != 2 or (len(array) and not array.shape[1]):
        raise ValueError(f"{name} must be of shape [n, d], or [d] for one of them; found {array.shape}")
    if array.dtype.kind == "f" and array.size and not np.isfinite([array.min(), array.max()]).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise ValueError(f"{name}: row {row} holds NaN or an infinite number")
    return array


def _check_options(precision: str, top_k: int, rescore_multiplier: int) -> None:
    if precision not in PRECISIONS:
        raise ValueError(f"unknown corpus_precision {precision!r}; use one of {', '.join(PRECISIONS)}")
    for name, value in (("top_k", top_k), ("rescore_multiplier", rescore_multiplier)):
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} must be a whole number from 1 on, not {value!r}")


def _chunks(rows: int, bytes_each: int) -> Iterator[slice]:
    step = max(1, _CHUNK_BYTES // bytes_each)
    for first in range(0, rows, step):
        yield slice(first, min(first + step, rows))
