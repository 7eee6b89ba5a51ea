"""Whether the same texts are near to a text in two spaces, whose numbers themselves cannot be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from st_ray.scoring.scan import Scan
from st_ray.scoring.similarity import Similarity

_BLOCK_ROWS = 16_384
_QUERIES = 1024
"""Queries whose neighbours are compared at once."""


@dataclass(frozen=True)
class Overlap:
    """How many of a text's nearest neighbours in the one space are so in the other, too.

    Attributes:
        queries: texts whose neighbours were looked at.
        corpus: texts among which these are.
        top_k: neighbours of each.
        mean: share of the neighbours that are the same.
        nearest: share of the texts whose nearest neighbour is the same.
        counts: of texts by how many neighbours are the same, from 0 to `top_k`.
    """

    queries: int
    corpus: int
    top_k: int
    mean: float
    nearest: float
    counts: tuple[int, ...]


def neighbours(
    rows: np.ndarray,
    floats: Callable[[np.ndarray], np.ndarray],
    similarity: Similarity,
    queries: int,
    k: int,
) -> np.ndarray:
    """The nearest `k` other rows of each of the first `queries` rows: int64 `[queries, k]`, ties by smaller row.

    Args:
        rows: `[n, columns]` as they are stored, more than `k`.
        floats: from stored rows to float32 `[m, d]`; a block is turned at a time.

    Raises:
        ValueError: a score is not a number, since a row is not finite.
    """
    scan = Scan(similarity, torch.from_numpy(np.ascontiguousarray(floats(rows[:queries]))), k + 1)
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = floats(rows[start : start + _BLOCK_ROWS])
        scan.absorb(torch.from_numpy(np.ascontiguousarray(block)), start)
    _, found = scan.finish()
    others = found != np.arange(queries)[:, None]
    # Where more equal rows come before it, a row is not among its own neighbours.
    others[others.all(axis=1), -1] = False
    return found[others].reshape(queries, k)


def overlap_of(one: np.ndarray, other: np.ndarray, corpus: int) -> Overlap:
    """Compare neighbours, both int64 `[queries, k]` with at least one query and one neighbour, best first."""
    queries, k = one.shape
    shared = np.concatenate(
        [
            (one[start : start + _QUERIES, :, None] == other[start : start + _QUERIES, None, :]).any(axis=2).sum(axis=1)
            for start in range(0, queries, _QUERIES)
        ]
    )
    return Overlap(
        queries=queries,
        corpus=corpus,
        top_k=k,
        mean=float(shared.mean() / k),
        nearest=float((one[:, 0] == other[:, 0]).mean()),
        counts=tuple(np.bincount(shared, minlength=k + 1).tolist()),
    )
