"""Pearson's and Spearman's correlation out of exact sums: any partition of the pairs gives the same bits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from st_ray.evaluation.exact import UNITS, exact_dot, exact_sum


@dataclass(frozen=True)
class CorrelationSums:
    """What a correlation is made of, of some pairs (x, y); `+` joins them with those of other pairs.

    Attributes:
        count: pairs.
        x, y, xx, yy, xy: exact sums, in units (see `st_ray.evaluation.exact`).
    """

    count: int = 0
    x: int = 0
    y: int = 0
    xx: int = 0
    yy: int = 0
    xy: int = 0

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> CorrelationSums:
        """Of finite `x` and `y` `[n]`."""
        return cls(len(x), exact_sum(x), exact_sum(y), exact_dot(x, x), exact_dot(y, y), exact_dot(x, y))

    def __add__(self, other: CorrelationSums) -> CorrelationSums:
        """Of both sets of pairs."""
        return CorrelationSums(
            self.count + other.count,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.yy + other.yy,
            self.xy + other.xy,
        )

    @property
    def coefficient(self) -> float:
        """Pearson's correlation of the pairs, rounded at its end alone; nan where x or y is constant."""
        covariance = self.count * self.xy * UNITS - self.x * self.y
        variances = (self.count * self.xx * UNITS - self.x**2) * (self.count * self.yy * UNITS - self.y**2)
        if not variances:
            return math.nan
        size = math.sqrt(min(covariance**2 / variances, 1.0))
        return -size if covariance < 0 else size


def doubled_ranks(values: np.ndarray, before: int = 0) -> np.ndarray:
    """Twice the ranks of `values` `[n]`, int64, from 1 on, equal values sharing the mean of theirs.

    Args:
        before: how many smaller values there are elsewhere; no value equal to one of these may be there.
    """
    if not len(values):
        return np.zeros(0, np.int64)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    ends = np.append(starts[1:], len(values))
    ranks = np.empty(len(values), np.int64)
    ranks[order] = np.repeat(2 * before + starts + ends + 1, ends - starts)
    return ranks


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of `x` and `y` `[n]`; nan where one is constant."""
    return CorrelationSums.of(x, y).coefficient


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation of `x` and `y` `[n]`; nan where one is constant."""
    return pearson(doubled_ranks(x), doubled_ranks(y))
