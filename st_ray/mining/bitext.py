"""Bitext mining: which texts of two collections, say in two languages, are translations of each other.

A cosine alone does not tell, since some texts are close to everything. A pair is scored by how far its cosine stands
out among those of its neighbours: Artetxe and Schwenk, Margin-based Parallel Corpus Mining with Multilingual Sentence
Embeddings (ACL 2019). With the k nearest texts of the other side, in exact search, as neighbours,

    a = cos(x, y)
    b = (mean of cos(x, z) over the neighbours z of x) / 2 + (mean of cos(z, y) over the neighbours z of y) / 2

and the margin of x and y is one of

    ratio       a / b: 1 is nothing special, translations lie clearly above. It has a meaning only where b is above 0;
                pairs where it is not, as happens when k is a large part of the other side, are no candidates.
    distance    a - b
    absolute    a

Neighbours of any block of rows give the block's means; neighbours and all means give its candidate pairs; the joined
candidates of all blocks give the result. Nothing depends on how rows were cut into blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from st_ray.scoring.scan import Scan
from st_ray.scoring.similarity import Embeddings, similarity_of
from st_ray.scoring.tensors import as_matrices
from st_ray.scoring.topk import PADDING

_MARGINS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ratio": lambda a, b: np.divide(a, b, out=np.full_like(a, -np.inf), where=b > 0),
    "distance": np.subtract,
    "absolute": lambda a, b: a,
}
MARGINS = tuple(_MARGINS)
"""Names of the margins."""
RETRIEVALS = ("max", "intersection", "forward", "backward")
"""Names of the ways to choose among candidates; see `retrieve`."""
_QUERIES = 8192
"""Rows whose neighbours are searched at a time; a scan takes up to 32 MiB for each 1,024 of them."""
_PREFIX = 1024
"""Candidates that are looked at together when pairs are made one-to-one."""


@dataclass(frozen=True)
class BitextPairs:
    """Candidates or results, as columns of one length.

    Attributes:
        margin: float32.
        source: int64, positions of the source texts.
        target: int64, positions of the target texts.
    """

    margin: np.ndarray
    source: np.ndarray
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.margin)

    def __getitem__(self, rows: np.ndarray) -> BitextPairs:
        return BitextPairs(self.margin[rows], self.source[rows], self.target[rows])

    def flipped(self) -> BitextPairs:
        """With source and target exchanged."""
        return BitextPairs(self.margin, self.target, self.source)

    @classmethod
    def joined(cls, parts: Sequence[BitextPairs]) -> BitextPairs:
        """One after the other; at least one."""
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("margin", "source", "target"))
        )


def mine_bitext(
    source_embeddings: Embeddings,
    target_embeddings: Embeddings,
    *,
    neighbors: int = 4,
    margin: str = "ratio",
    retrieval: str = "max",
    threshold: float | None = None,
) -> list[list[float | int]]:
    """Pairs of rows that stand out as translations of each other.

    Args:
        source_embeddings: `[n, d]`: a list, an array or a tensor, of any length but 0; sparse tensors are made dense.
        target_embeddings: `[m, d]`, of the same model; the work is done on the device that they are on.
        neighbors: k of the margin; all rows of the other side where it has fewer.
        margin: `ratio`, `distance` or `absolute`; see above.
        retrieval: see `retrieve`.
        threshold: the least margin of a pair; None for any. What separates translations from noise depends on the
            model: the more all its embeddings have in common, the closer to 1 are the ratios of noise.

    Returns:
        `[margin, source position, target position]` of each pair, best first, ties by smaller source, then by smaller
        target position.

    Raises:
        TypeError: embeddings that are no list, array or tensor of real numbers.
        ValueError: an unknown name, `neighbors` below 1, embeddings of different dimensions, or a row that is not
            finite; the message names its side and position.
    """
    if neighbors < 1:
        raise ValueError(f"neighbors must be 1 or more, not {neighbors}")
    _check_name("margin", margin, MARGINS)
    _check_name("retrieval", retrieval, RETRIEVALS)
    if not len(source_embeddings) or not len(target_embeddings):
        return []
    with torch.no_grad():
        sides = as_matrices(source_embeddings, target_embeddings, floating=True)
        source, target = (side.to(sides[1].device).to_dense() for side in sides)
        _check_finite("source", source)
        _check_finite("target", target)
        near_source = nearest(source, target, neighbors)
        near_target = nearest(target, source, neighbors)
    source_means, target_means = mean_similarity(near_source[0]), mean_similarity(near_target[0])
    forward = margin_pairs(*near_source, source_means, target_means, margin=margin)
    backward = margin_pairs(*near_target, target_means, source_means, margin=margin).flipped()
    pairs = retrieve(forward, backward, retrieval=retrieval, threshold=threshold)
    columns = pairs.margin.tolist(), pairs.source.tolist(), pairs.target.tolist()
    return [list(pair) for pair in zip(*columns, strict=True)]


def nearest(queries: Tensor, rows: Tensor, neighbors: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines float32 and positions int64 of the nearest `rows` of each query, `[q, k]`, best first.

    Args:
        queries: `[q, d]`, finite, at least one.
        rows: `[n, d]`, finite, on the same device; k is the smaller one of `neighbors` and n.
    """
    found = []
    for part in queries.split(_QUERIES):
        scan = Scan(similarity_of("cosine"), part, min(neighbors, len(rows)))
        scan.absorb(rows, 0)
        found.append(scan.finish())
    return np.concatenate([scores for scores, _ in found]), np.concatenate([ids for _, ids in found])


def mean_similarity(scores: np.ndarray) -> np.ndarray:
    """Mean cosine of each row's neighbours, from float32 `[n, k]` to float32 `[n]`, summed in float64.

    Places that were left empty (-inf) do not count; without any neighbour the mean is 0.
    """
    found = scores > -np.inf
    sums = scores.sum(axis=1, dtype=np.float64, where=found)
    return (sums / np.maximum(found.sum(axis=1), 1)).astype(np.float32)


def margin_pairs(
    scores: np.ndarray,
    neighbors: np.ndarray,
    means: np.ndarray,
    other_means: np.ndarray,
    *,
    margin: str = "ratio",
    first: int = 0,
) -> BitextPairs:
    """Each row's best neighbour by margin, ties by smaller position; no pair for rows without a margin.

    Rows are taken for the source side. For target rows, pass their means as `means` and flip the result.

    Args:
        scores: float32 `[n, k]`, cosines of the neighbours of a block of rows; -inf where there are fewer.
        neighbors: int64 `[n, k]`, positions on the other side; `PADDING` where there are fewer.
        means: float32 `[n]`, mean cosines of the block's rows.
        other_means: float32, mean cosines of all rows of the other side.
        first: position of the block's first row.
    """
    # PADDING reads the last row's mean, which does not matter beside a score of -inf.
    around = np.add(means[:, None], other_means[neighbors], dtype=np.float64) / 2
    margins = _MARGINS[margin](scores.astype(np.float64), around).astype(np.float32)
    best = margins.max(axis=1)
    partner = np.where(margins == best[:, None], neighbors, np.iinfo(np.int64).max).min(axis=1)
    rows = np.flatnonzero(best > -np.inf)
    return BitextPairs(best[rows], rows + first, partner[rows])


def retrieve(
    forward: BitextPairs, backward: BitextPairs, *, retrieval: str = "max", threshold: float | None = None
) -> BitextPairs:
    """Choose among candidates; best margin first, ties by smaller source, then by smaller target.

    Args:
        forward: the best target of each source, in any order.
        backward: the best source of each target, in any order.
        retrieval: `forward` or `backward` candidates alone; their `intersection`; or `max`: the candidates of both,
            best first, each of which is taken unless its source or its target is in a pair already.
        threshold: the least margin of a pair; None for any.

    Raises:
        ValueError: an unknown name.
    """
    _check_name("retrieval", retrieval, RETRIEVALS)
    if retrieval == "forward":
        pairs = forward
    elif retrieval == "backward":
        pairs = backward
    elif retrieval == "intersection":
        pairs = _mutual(forward, backward)
    else:
        pairs = BitextPairs.joined([forward, backward])
    if threshold is not None:
        pairs = pairs[pairs.margin >= threshold]
    pairs = pairs[np.lexsort((pairs.target, pairs.source, -pairs.margin))]
    return pairs[_one_to_one(pairs.source, pairs.target)] if retrieval == "max" else pairs


def _mutual(forward: BitextPairs, backward: BitextPairs) -> BitextPairs:
    best_source = np.full(_width(forward.target, backward.target), PADDING)
    best_source[backward.target] = backward.source
    return forward[best_source[forward.target] == forward.source]


def _one_to_one(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Which of the pairs a walk from first to last takes, if it skips those whose source or target is taken: int64."""
    source_free, target_free = np.ones(_width(source), bool), np.ones(_width(target), bool)
    source_first, target_first = np.empty(len(source_free), np.int64), np.empty(len(target_free), np.int64)
    taken = [np.empty(0, np.int64)]
    # Of the pairs that are still free, the walk surely takes each one that comes first both for its source and for its
    # target: only an earlier pair of the same source or target could make it skip this one, and there is none. What
    # shares a row with it is skipped. The walk over the rest is the same question again, and each round takes at least
    # the first pair of all. Long chains of pairs, each of which waits for the one before, take a round a link; so
    # rounds run over some pairs at a time, which is the walk too, and their cost stays bounded.
    for start in range(0, len(source), _PREFIX):
        left = np.arange(start, min(start + _PREFIX, len(source)))
        while len(left := left[source_free[source[left]] & target_free[target[left]]]):
            # Where an index is repeated, the last value stays, which is the first pair.
            source_first[source[left[::-1]]] = left[::-1]
            target_first[target[left[::-1]]] = left[::-1]
            sure = left[(source_first[source[left]] == left) & (target_first[target[left]] == left)]
            source_free[source[sure]] = False
            target_free[target[sure]] = False
            taken.append(sure)
    return np.sort(np.concatenate(taken))


def _width(*positions: np.ndarray) -> int:
    """One more than the greatest position."""
    return max((int(column.max()) + 1 for column in positions if len(column)), default=0)


def _check_name(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}; use one of {', '.join(known)}")


def _check_finite(side: str, embeddings: Tensor) -> None:
    peaks = torch.linalg.vector_norm(embeddings, ord=float("inf"), dim=1)
    bad = (~peaks.isfinite()).nonzero()
    if len(bad):
        raise ValueError(f"{side} row {int(bad[0])} is not finite; there are {len(bad):,} such rows")
