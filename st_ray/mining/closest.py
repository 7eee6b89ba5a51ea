"""The documents closest to each query, and the scores of single pairs, by embeddings or by a cross-encoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from st_ray.mining.candidates import Candidates, QueryGroups
from st_ray.scoring.kernels import kernel_of, squares
from st_ray.scoring.scan import Scan
from st_ray.scoring.similarity import Similarity
from st_ray.scoring.topk import PADDING

_QUERIES = 8192
"""Queries searched at a time, at most; a scan takes up to 32 MiB for each 1,024 of them."""
_PAIRS = 8192


def closest(
    queries: Tensor, documents: Tensor, similarity: Similarity, counts: np.ndarray, block: int = _QUERIES
) -> Candidates:
    """The closest documents of each query, by exact search, ties by smaller document.

    Args:
        queries: `[q, d]`, finite.
        documents: `[n, d]`, finite, on the same device.
        counts: int64 `[q]`, how many for each query, 1 or more; all `n` where there are fewer.
        block: queries that are searched at a time, at most; it never changes the result.
    """
    # Those that ask for many documents together, so that one of them does not make a whole search deep.
    order = np.argsort(counts, kind="stable")
    found = []
    for start in range(0, len(order), min(block, _QUERIES)):
        some = order[start : start + min(block, _QUERIES)]
        depth = min(int(counts[some[-1]]), len(documents))
        scan = Scan(similarity, queries.index_select(0, torch.from_numpy(some).to(queries.device)), depth)
        scan.absorb(documents, 0)
        scores, positions = scan.finish()
        row, column = np.nonzero((np.arange(depth) < counts[some][:, None]) & (positions != PADDING))
        found.append(Candidates(some[row], positions[row, column], scores[row, column]))
    columns = ([getattr(part, name) for part in found] for name in ("query", "document", "scores"))
    return Candidates(*map(np.concatenate, columns)).best_first()


def pair_scores(
    queries: Tensor, documents: Tensor, similarity: Similarity, query: np.ndarray, document: np.ndarray
) -> np.ndarray:
    """Scores float32 `[m]` of the pairs at `query` and `document`, int64 `[m]` each: those that `closest` gives."""
    kernel, lengths = kernel_of(similarity), squares(queries)
    scores = np.empty(len(query), np.float32)
    for start in range(0, len(query), _PAIRS):
        some = slice(start, start + _PAIRS)
        one, other = (torch.from_numpy(place[some]).to(queries.device) for place in (query, document))
        pairs = queries.index_select(0, one), documents.index_select(0, other), lengths.index_select(0, one)
        scores[some] = kernel.exact(*pairs).cpu().numpy()
    return scores


def cross_scores(
    cross_encoder: Any,
    groups: QueryGroups,
    query: np.ndarray,
    document: np.ndarray,
    *,
    batch_size: int = 32,
    show_progress_bar: bool = False,
) -> np.ndarray:
    """Scores float32 `[m]` of the pairs at `query` and `document`, int64 `[m]` each, by the cross-encoder.

    It is called once, with each distinct pair, so that it may batch the pairs of all queries by their length.

    Raises:
        ValueError: it gives several scores of a pair, or one that is not finite; the pair is named.
    """
    queries, documents = groups.queries.to_pylist(), groups.documents.to_pylist()
    keys, inverse = np.unique(groups.keys(query, document), return_inverse=True)
    one, other = np.divmod(keys, len(documents))
    pairs = [(queries[q], documents[d]) for q, d in zip(one.tolist(), other.tolist(), strict=True)]
    scores = np.asarray(
        cross_encoder.predict(pairs, batch_size=batch_size, show_progress_bar=show_progress_bar), np.float32
    )
    if scores.shape != (len(pairs),):
        raise ValueError(
            f"the cross-encoder gives scores of shape {scores.shape} for {len(pairs):,} pairs; one each is needed"
        )
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise ValueError(
            f"the cross-encoder gives {scores[bad[0]]} for the pair {tuple(f'{text:.60}' for text in pairs[bad[0]])}; "
            f"there are {len(bad):,} such pairs"
        )
    return scores[inverse]
