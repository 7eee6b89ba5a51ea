"""How far embeddings of the same texts have moved from one version of a store to another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from st_ray.scoring.agreement import cosines

BINS = 40
_PERCENTS = {"min": 0, "p1": 1, "p5": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95, "p99": 99, "max": 100}
_NARROWEST = 1e-6
"""Of a histogram, so that cosines which differ by rounding fall into one bin."""


@dataclass(frozen=True)
class Movement:
    """Of embeddings, each compared with that of the same text before.

    Attributes:
        texts: that were measured.
        identical: of them, those whose embedding is the same to the last bit.
        mean: of the cosines; those of identical embeddings are 1.
        percentiles: of the cosines, by name; `min` and `max` are the least and the greatest.
        low: of the histogram.
        counts: of cosines in `BINS` steps of equal width from `low` to 1.
        max_difference: the greatest absolute difference in any dimension.
    """

    texts: int
    identical: int
    mean: float
    percentiles: Mapping[str, float]
    low: float
    counts: tuple[int, ...]
    max_difference: float


def moved(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The cosine of each embedding to the one before, and their greatest difference in any dimension, float64 `[n]`.

    Args:
        pairs: blocks of embeddings before and now, both `[m, d]`; at least one block.
    """
    found, differences = [], []
    for before, now in pairs:
        difference = np.abs(now.astype(np.float64) - before).max(axis=1)
        # Rounding must not make equal embeddings differ.
        found.append(np.where(difference == 0, 1.0, np.clip(cosines(before, now), -1.0, 1.0)))
        differences.append(difference)
    return np.concatenate(found), np.concatenate(differences)


def movement_of(cosine: np.ndarray, difference: np.ndarray) -> Movement:
    """The figures of what `moved` gives for one text or more."""
    low = min(float(cosine.min()), 1.0 - _NARROWEST)
    counts, _ = np.histogram(cosine, bins=BINS, range=(low, 1.0))
    return Movement(
        texts=len(cosine),
        identical=int((difference == 0).sum()),
        mean=float(cosine.mean()),
        percentiles={name: float(np.percentile(cosine, percent)) for name, percent in _PERCENTS.items()},
        low=low,
        counts=tuple(counts.tolist()),
        max_difference=float(difference.max()),
    )
