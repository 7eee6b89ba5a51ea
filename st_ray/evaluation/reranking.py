"""Ranking metrics of many samples at once: each is a query with some relevant and some other documents.

Samples lie one behind another in flat arrays; a figure depends on its own sample alone, so that parts merge exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class SampleFigures:
    """Metrics of `[q]` samples, float64; 0 for one without a relevant document.

    Attributes:
        mrr: 1 / rank of the first relevant document among the first k, else 0; ties by the order of the documents.
        pessimistic_mrr: likewise, but of equal scores the later document is ranked first.
        ndcg: at k; equal scores share their ranks' discounts (McSherry and Najork, 2008), as in scikit-learn.
        average_precision: over all ranks, one a distinct score, as in scikit-learn.
    """

    mrr: np.ndarray
    pessimistic_mrr: np.ndarray
    ndcg: np.ndarray
    average_precision: np.ndarray


def sample_figures(scores: np.ndarray, relevant: np.ndarray, counts: np.ndarray, at_k: int) -> SampleFigures:
    """The metrics of each sample.

    Args:
        scores: `[n]`, of all samples' documents.
        relevant: `[n]` bool.
        counts: `[q]`, documents of each sample; they sum to n.
        at_k: ranks that MRR and nDCG look at.
    """
    sample = np.repeat(np.arange(len(counts)), counts)
    rank = np.arange(len(scores)) - np.repeat(np.cumsum(counts) - counts, counts)
    order = np.lexsort((-scores, sample))
    reversed_order = np.lexsort((-np.arange(len(scores)), -scores, sample))
    totals = np.bincount(sample, relevant, len(counts))
    groups = _TieGroups.of(scores[order], relevant[order], sample)
    return SampleFigures(
        mrr=_reciprocal_rank(relevant[order], sample, rank, len(counts), at_k),
        pessimistic_mrr=_reciprocal_rank(relevant[reversed_order], sample, rank, len(counts), at_k),
        ndcg=_ndcg(groups, rank, totals, at_k),
        average_precision=_average_precision(groups, rank, totals),
    )


@dataclass(frozen=True, eq=False)
class _TieGroups:
    """Documents of one sample with equal scores, best first.

    Attributes:
        starts, sizes: `[g]` where in the ranked documents each begins, and how many they are.
        hits: `[g]` how many of them are relevant.
        sample: `[g]` the sample of each.
    """

    starts: np.ndarray
    sizes: np.ndarray
    hits: np.ndarray
    sample: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, relevant: np.ndarray, sample: np.ndarray) -> _TieGroups:
        if not len(scores):
            none = np.zeros(0, np.int64)
            return cls(none, none, none, none)
        new = np.concatenate([[True], (scores[1:] != scores[:-1]) | (sample[1:] != sample[:-1])])
        starts = np.flatnonzero(new)
        hits = np.add.reduceat(relevant.astype(np.int64), starts)
        return cls(starts, np.diff(starts, append=len(scores)), hits, sample[starts])


def _reciprocal_rank(relevant: np.ndarray, sample: np.ndarray, rank: np.ndarray, count: int, at_k: int) -> np.ndarray:
    first = np.full(count, at_k)
    hits = relevant & (rank < at_k)
    np.minimum.at(first, sample[hits], rank[hits])
    return np.where(first < at_k, 1 / (first + 1), 0.0)


def _ndcg(groups: _TieGroups, rank: np.ndarray, totals: np.ndarray, at_k: int) -> np.ndarray:
    if not len(rank):
        return np.zeros(len(totals))
    longest = int(rank.max()) + 1
    discounts = 1 / np.log2(np.arange(longest) + 2)
    discounts[at_k:] = 0
    sums = np.concatenate([[0.0], np.cumsum(discounts)])
    first = rank[groups.starts]
    gains = groups.hits / groups.sizes * (sums[first + groups.sizes] - sums[first])
    ideal = sums[np.minimum(totals.astype(np.int64), longest)]
    return np.divide(np.bincount(groups.sample, gains, len(totals)), ideal, out=np.zeros(len(totals)), where=totals > 0)


def _average_precision(groups: _TieGroups, rank: np.ndarray, totals: np.ndarray) -> np.ndarray:
    found = np.cumsum(groups.hits)
    before = np.concatenate([[0], np.cumsum(totals)[:-1]]) if len(totals) else totals
    precision = (found - before[groups.sample]) / (rank[groups.starts] + groups.sizes)
    gained = np.divide(
        groups.hits, totals[groups.sample], out=np.zeros(len(groups.hits)), where=totals[groups.sample] > 0
    )
    return np.bincount(groups.sample, precision * gained, len(totals))
