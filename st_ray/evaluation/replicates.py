"""Figures of pairs drawn with replacement, fast: what is sorted once is not sorted again for every draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

Draw = Callable[[np.random.Generator], dict[str, float]]


def draws(rng: np.random.Generator, size: int) -> np.ndarray:
    """How often each of `size` rows is drawn when as many are, int64 `[size]`."""
    return np.bincount(rng.integers(size, size=size), minlength=size)


def correlation_replicates(x: np.ndarray, y: np.ndarray) -> Draw:
    """Pearson's and Spearman's correlation of pairs drawn from `x` and `y` `[n]`."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    codes = [np.unique(values, return_inverse=True)[1] for values in (x, y)]

    def drawn(rng: np.random.Generator) -> dict[str, float]:
        times = draws(rng, len(x)).astype(np.float64)
        ranks = [_ranks(code, times) for code in codes]
        return {"pearson": _correlation(x, y, times), "spearman": _correlation(ranks[0], ranks[1], times)}

    return drawn


def mean_replicates(values: Mapping[str, np.ndarray], among: Mapping[str, np.ndarray]) -> Draw:
    """Means of columns of values `[n]` over those of the drawn rows that are `among` (bool `[n]`) them."""

    def drawn(rng: np.random.Generator) -> dict[str, float]:
        times = draws(rng, len(next(iter(values.values())))).astype(np.float64)
        means = {}
        for name, column in values.items():
            weights = times * among[name]
            total = weights.sum()
            means[name] = float(weights @ column / total) if total else math.nan
        return means

    return drawn


def _ranks(codes: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Mean ranks of values, given as their places among the distinct ones, each counted `times`."""
    counts = np.bincount(codes, times)
    return (np.cumsum(counts) - (counts - 1) / 2)[codes]


def _correlation(x: np.ndarray, y: np.ndarray, times: np.ndarray) -> float:
    total = times.sum()
    x, y = x - times @ x / total, y - times @ y / total
    spread = math.sqrt((times * x) @ x) * math.sqrt((times * y) @ y)
    return float((times * x) @ y / spread) if spread else math.nan
