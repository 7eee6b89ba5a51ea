"""Confidence intervals by the bootstrap (Efron, 1979): the figures of samples drawn from the pairs with replacement."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

Figures = Mapping[str, float]
LEVEL = 0.95
_PERCENTILES = (100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2)


def confidence_intervals(
    figures: Figures,
    drawn: Callable[[np.random.Generator], Figures],
    *,
    replicates: int,
    seed: int,
    share: float = 1.0,
    centre: Figures | None = None,
) -> dict[str, tuple[float, float]]:
    """The percentile interval at `LEVEL` of each figure; figures that are not finite in any replicate have none.

    Of a sample of the pairs alone, deviations of its replicates from its own figures are shrunk to what all pairs
    would show, by the square root of its share (Politis and Romano, 1994).

    Args:
        figures: of all pairs.
        drawn: the figures of one replicate.
        share: of all pairs, that replicates are drawn from and as many as are drawn.
        centre: the figures of the sample, where that is not all pairs.
    """
    rng = np.random.default_rng(seed)
    rows = [drawn(rng) for _ in range(replicates)]
    intervals = {}
    for name, figure in figures.items():
        values = np.array([row[name] for row in rows], np.float64)
        values = values[np.isfinite(values)]
        if not len(values) or not math.isfinite(figure):
            continue
        if centre is not None:
            values = figure + math.sqrt(share) * (values - centre[name])
        low, high = np.percentile(values, _PERCENTILES)
        intervals[name] = (float(low), float(high))
    return intervals
