"""Exact semantic search in memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from st_ray.scoring.scan import Scan
from st_ray.scoring.similarity import Embeddings, ScoreFunction, Similarity, cos_sim, similarity_by
from st_ray.scoring.tensors import to_tensor
from st_ray.scoring.topk import PADDING, TopK

_QUERIES = 8192
"""Queries that are scanned with at a time; a scan takes up to 32 MiB for each 1,024 of them."""


def semantic_search(
    query_embeddings: Embeddings,
    corpus_embeddings: Embeddings,
    query_chunk_size: int = 100,
    corpus_chunk_size: int = 500_000,
    top_k: int = 10,
    score_function: ScoreFunction = cos_sim,
) -> list[list[dict[str, int | float]]]:
    """The `top_k` rows of the corpus with the highest scores for each query.

    The chunk sizes bound memory and never change the result. Scores of the four similarities of this package are sums
    in float64, rounded to float32; any other function is called with chunks of queries and corpus.

    Args:
        query_embeddings: `[q, d]`, or one query `[d]`: a list, an array, or a tensor, which may be sparse.
        corpus_embeddings: `[n, d]`; the work is done on the device that they are on.
        query_chunk_size: queries scored at a time by a function of the caller's own.
        corpus_chunk_size: corpus rows scored at a time.
        score_function: from `[q, d]` and `[n, d]` to scores `[q, n]`; higher is better.

    Returns:
        For each query a list of `{"corpus_id": position in the corpus, "score": float}`, best first, ties by smaller
        id; shorter than `top_k` where the corpus is.

    Raises:
        TypeError: embeddings that are no list, array or tensor of real numbers.
        ValueError: shapes that do not fit, numbers below 1, or embeddings that are not finite.
    """
    for name, value in (
        ("top_k", top_k),
        ("query_chunk_size", query_chunk_size),
        ("corpus_chunk_size", corpus_chunk_size),
    ):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, not {value}")
    queries, corpus = _matrices(query_embeddings, corpus_embeddings)
    if not len(queries) or not len(corpus):
        return [[] for _ in range(len(queries))]
    k = min(top_k, len(corpus))
    with torch.no_grad():
        known = similarity_by(score_function)
        if known is not None and not queries.is_sparse and not corpus.is_sparse:
            scores, ids = _scan(queries, corpus, k, corpus_chunk_size, known)
        else:
            scores, ids = _score(queries, corpus, k, query_chunk_size, corpus_chunk_size, score_function)
    return [
        [{"corpus_id": i, "score": s} for s, i in zip(row_scores, row_ids, strict=True) if i != PADDING]
        for row_scores, row_ids in zip(scores.tolist(), ids.tolist(), strict=True)
    ]


def _matrices(query_embeddings: Embeddings, corpus_embeddings: Embeddings) -> tuple[Tensor, Tensor]:
    corpus = to_tensor(corpus_embeddings)
    queries = to_tensor(query_embeddings).to(corpus.device)
    for side in (queries, corpus):
        if side.is_complex():
            raise TypeError(f"embeddings must be real numbers, not {side.dtype}")
    if queries.dim() == 1 and len(queries):
        queries = queries[None]
    if not len(queries) or not len(corpus):
        return queries, corpus
    if not (queries.dim() == corpus.dim() == 2 and queries.shape[1] == corpus.shape[1]):
        raise ValueError(
            f"cannot search embeddings of shape {tuple(corpus.shape)} with queries of shape {tuple(queries.shape)}; "
            "expected [n, d] and [q, d], or one query [d]"
        )
    return queries, corpus


def _scan(queries: Tensor, corpus: Tensor, k: int, chunk: int, similarity: Similarity) -> tuple[np.ndarray, np.ndarray]:
    if not torch.isfinite(queries).all():
        raise ValueError("a query is not finite")
    found = []
    for some in queries.split(_QUERIES):
        scan = Scan(similarity, some, k)
        for start in range(0, len(corpus), chunk):
            scan.absorb(corpus[start : start + chunk], start)
        found.append(scan.finish())
    return np.concatenate([scores for scores, _ in found]), np.concatenate([ids for _, ids in found])


def _score(
    queries: Tensor, corpus: Tensor, k: int, query_chunk: int, corpus_chunk: int, score_function: ScoreFunction
) -> tuple[np.ndarray, np.ndarray]:
    found = []
    for first in range(0, len(queries), query_chunk):
        part = _rows(queries, first, query_chunk)
        best = TopK(len(part), k)
        for start in range(0, len(corpus), corpus_chunk):
            scores = score_function(part, _rows(corpus, start, corpus_chunk))
            best.absorb(scores.detach().to_dense().float().cpu().numpy(), start)
        found.append(best.padded())
    return np.concatenate([scores for scores, _ in found]), np.concatenate([ids for _, ids in found])


def _rows(matrix: Tensor, first: int, count: int) -> Tensor:
    if not matrix.is_sparse:
        return matrix[first : first + count]
    return matrix.index_select(0, torch.arange(first, min(first + count, len(matrix)), device=matrix.device))
