"""Paraphrase mining in memory: the best-scoring pairs of all rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from st_ray.core.pairs import Pairs, best, canonical, concatenated, merged, picks
from st_ray.mining.collector import Collector
from st_ray.mining.opening import guesses, late_copies
from st_ray.scoring.similarity import Embeddings, ScoreFunction, Similarity, cos_sim, similarity_by
from st_ray.scoring.tensors import to_tensor
from st_ray.scoring.topk import PADDING, TopK
from st_ray.scoring.triangle import Floors, Triangle

_BLOCK = 4096
"""Rows between whose blocks floors may rise."""
_SCORES = 1 << 24
"""Scores of a function of the caller's own that are looked at a time."""


def paraphrase_mining(
    model: Any,
    sentences: list[str],
    show_progress_bar: bool = False,
    batch_size: int = 32,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100_000,
    max_pairs: int = 500_000,
    top_k: int = 100,
    score_function: ScoreFunction = cos_sim,
    truncate_dim: int | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> list[list[float | int]]:
    """The pairs of sentences whose embeddings score highest; see `paraphrase_mining_embeddings`.

    Args:
        model: what has the `encode` of `BiEncoder`, or of Sentence Transformers.
        sentences: texts.
        show_progress_bar: show how far encoding is, on standard error.
        batch_size: texts of a batch at most.
        truncate_dim: leading dimensions to keep; None for the model's own.
        prompt_name: name of one of the model's prompts, to put before every text.
        prompt: the prompt itself; wins over `prompt_name`.

    Returns:
        `[score, i, j]` of each pair, as positions in `sentences`, best first.
    """
    embeddings = model.encode(
        sentences,
        show_progress_bar=show_progress_bar,
        batch_size=batch_size,
        convert_to_tensor=True,
        truncate_dim=truncate_dim,
        prompt_name=prompt_name,
        prompt=prompt,
    )
    return paraphrase_mining_embeddings(
        embeddings, query_chunk_size, corpus_chunk_size, max_pairs, top_k, score_function
    )


def paraphrase_mining_embeddings(
    embeddings: Embeddings,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100_000,
    max_pairs: int = 500_000,
    top_k: int = 100,
    score_function: ScoreFunction = cos_sim,
) -> list[list[float | int]]:
    """The pairs of rows that score highest, among those that one of their rows has among its best `top_k`.

    The best of a row come by falling score, then smaller number. Chunk sizes bound memory for a function of the
    caller's own and never change the result. Scores of the four similarities of this package are sums in float64,
    rounded to float32.

    Args:
        embeddings: `[n, d]`: a list, an array, or a tensor, which may be sparse; the work is done on its device.
        query_chunk_size: rows scored at a time by a function of the caller's own.
        corpus_chunk_size: rows that these are scored with at a time.
        max_pairs: pairs at most, 0 or more.
        top_k: other rows at most for each row, 1 or more.
        score_function: from `[q, d]` and `[n, d]` to scores `[q, n]`, symmetric; higher is better.

    Returns:
        `[score, i, j]` of each pair, i < j, best first, ties by smaller i, then smaller j.

    Raises:
        TypeError: embeddings that are no list, array or tensor of real numbers.
        ValueError: another shape, numbers that are too small, or embeddings or scores that are not finite.
    """
    least = {"query_chunk_size": 1, "corpus_chunk_size": 1, "max_pairs": 0, "top_k": 1}
    given = zip(least.items(), (query_chunk_size, corpus_chunk_size, max_pairs, top_k), strict=True)
    for (name, minimum), value in given:
        if value < minimum:
            raise ValueError(f"{name} must be {minimum} or more, not {value}")
    rows = _matrix(embeddings)
    if len(rows) < 2 or not max_pairs:
        return []
    k = min(top_k, len(rows) - 1)
    with torch.no_grad():
        known = similarity_by(score_function)
        if known is not None and not rows.is_sparse:
            pairs = mine(rows, known, k, max_pairs)
        else:
            pairs = _mine_by(score_function, rows, query_chunk_size, corpus_chunk_size, k, max_pairs)
    columns = (pairs.scores.tolist(), pairs.first.tolist(), pairs.second.tolist())
    return [list(pair) for pair in zip(*columns, strict=True)]


def mine(rows: Tensor, similarity: Similarity, top_k: int, max_pairs: int, *, coarse: bool | None = None) -> Pairs:
    """`paraphrase_mining_embeddings` in columns.

    Args:
        rows: `[n, d]`, two or more, of any real dtype.
        max_pairs: 1 or more.
        coarse: see `Triangle`.
    """
    triangle = Triangle(similarity, coarse=coarse)
    blocks = [triangle.block(rows[first : first + _BLOCK], first) for first in range(0, len(rows), _BLOCK)]
    late = late_copies(blocks, top_k)
    pairs = concatenated([])
    for floors in guesses(triangle, rows, top_k, max_pairs):
        collector = Collector(triangle, len(rows), top_k, max_pairs, replace(floors, late=late))
        for place, one in enumerate(blocks):
            for other in blocks[place:]:
                for found in triangle.survivors(one, other, collector.floors):
                    collector.absorb(found)
        pairs = collector.finish()
        if _enough(triangle, pairs, max_pairs, floors):
            break
    return pairs


def _enough(triangle: Triangle, pairs: Pairs, max_pairs: int, floors: Floors) -> bool:
    """Whether the guess of the floor was low enough for these to be the best: below it, pairs may be missing."""
    return len(pairs) == max_pairs and float(triangle.levels(torch.from_numpy(pairs.scores[-1:]))[0]) >= floors.least


def _mine_by(
    score_function: ScoreFunction, rows: Tensor, query_chunk: int, corpus_chunk: int, top_k: int, max_pairs: int
) -> Pairs:
    """By a function of the caller's own: the best of each row, and then of the pairs."""
    found = []
    for first in range(0, len(rows), query_chunk):
        part = _rows(rows, first, query_chunk)
        best_others = TopK(len(part), top_k)
        for start in range(0, len(rows), corpus_chunk):
            scores = score_function(part, _rows(rows, start, corpus_chunk)).detach().to_dense().float().cpu().numpy()
            best_others.merge(*_others(scores, first, start, top_k))
        scores, others = best_others.padded()
        one = np.broadcast_to(np.arange(first, first + len(part))[:, None], others.shape)
        picked = others != PADDING
        found.append(canonical(one[picked], others[picked], scores[picked]))
    pairs = merged(found)
    return best(pairs[picks(pairs, top_k).counts > 0], max_pairs)


def _others(scores: np.ndarray, first: int, start: int, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and numbers of the best others, of rows `first`, ... with rows `start`, ...: `[q, n]` -> `[q, top_k]`."""
    if np.isnan(scores).any():
        raise ValueError("a score is not a number: score_function or the embeddings give NaN")
    found = []
    height = max(1, _SCORES // scores.shape[1])
    for row in range(0, len(scores), height):
        part = scores[row : row + height]
        numbers = np.arange(start, start + part.shape[1])
        own = numbers[None] == np.arange(first + row, first + row + len(part))[:, None]
        best_others = TopK(len(part), top_k)
        best_others.merge(part, np.where(own, PADDING, numbers[None]))
        found.append(best_others.padded())
    return np.concatenate([part for part, _ in found]), np.concatenate([ids for _, ids in found])


def _matrix(embeddings: Embeddings) -> Tensor:
    rows = to_tensor(embeddings)
    if rows.is_complex():
        raise TypeError(f"embeddings must be real numbers, not {rows.dtype}")
    if len(rows) and (rows.dim() != 2 or not rows.shape[1]):
        raise ValueError(f"cannot mine embeddings of shape {tuple(rows.shape)}; expected [n, d]")
    return rows


def _rows(matrix: Tensor, first: int, count: int) -> Tensor:
    if not matrix.is_sparse:
        return matrix[first : first + count]
    return matrix.index_select(0, torch.arange(first, min(first + count, len(matrix)), device=matrix.device))
