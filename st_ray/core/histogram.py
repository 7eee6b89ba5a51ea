"""Histograms that need no range beforehand, and add up: the bins are as wide as a power of two.

Wider bins are made of narrower ones, two and two, so that those of any shards come to what one of all would be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

BINS = 48
"""At most; most often more than half as many."""
_FINEST = 12
"""Bits of the largest value, than which no bin is finer: scores that differ by rounding alone lie in one."""
_LEAST_EXPONENT = -200


@dataclass(frozen=True)
class Histogram:
    """How many values lie in which bin.

    Attributes:
        exponent: of two; bins are that wide, bin number n begins at n times the width.
        first: number of the first bin.
        counts: int64 `[n]` of values by bin; none without values, else the first and the last are above 0.
    """

    exponent: int
    first: int
    counts: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Histogram:
        """Of float32, any shape; those that are not finite are left out."""
        values = values[np.isfinite(values)].astype(np.float64)
        if not len(values):
            return cls(_LEAST_EXPONENT, 0, np.zeros(0, np.int64))
        low, high = float(values.min()), float(values.max())
        exponent = _exponent(low, high)
        first = _bin(low, exponent)
        numbers = np.floor(values * 2.0**-exponent).astype(np.int64) - first
        return cls(exponent, first, np.bincount(numbers))

    @classmethod
    def merged(cls, parts: Iterable[Histogram]) -> Histogram:
        """Of the values of all `parts`, at least one."""
        found = [part for part in parts if len(part.counts)]
        if not found:
            return cls.of(np.zeros(0))
        exponent = max(part.exponent for part in found)
        while True:
            ends = [(part.first >> exponent - part.exponent, part._last >> exponent - part.exponent) for part in found]
            first, last = min(first for first, _ in ends), max(last for _, last in ends)
            if last - first < BINS:
                break
            exponent += 1
        counts = np.zeros(last - first + 1, np.int64)
        for part in found:
            numbers = (part.first + np.arange(len(part.counts))) >> exponent - part.exponent
            np.add.at(counts, numbers - first, part.counts)
        return cls(exponent, first, counts)

    @property
    def total(self) -> int:
        """Values in all."""
        return int(self.counts.sum())

    @property
    def width(self) -> float:
        """Of a bin."""
        return 2.0**self.exponent

    @property
    def ends(self) -> tuple[float, float]:
        """Where the first bin begins, and the last one ends."""
        return self.first * self.width, (self._last + 1) * self.width

    def quantiles(self, levels: Sequence[float]) -> list[float]:
        """About, as if the values of a bin were spread evenly; there is at least one value."""
        edges = (self.first + np.arange(len(self.counts) + 1)) * self.width
        below = np.concatenate([[0], np.cumsum(self.counts)])
        return np.interp(np.asarray(levels) * self.total, below, edges).tolist()

    def to_text(self) -> str:
        """A few hundred characters."""
        return f"{self.exponent} {self.first} {' '.join(map(str, self.counts.tolist()))}".rstrip()

    @classmethod
    def from_text(cls, text: str) -> Histogram:
        """The inverse of `to_text`."""
        exponent, first, *counts = map(int, text.split())
        return cls(exponent, first, np.array(counts, np.int64))

    @property
    def _last(self) -> int:
        return self.first + len(self.counts) - 1


def _exponent(low: float, high: float) -> int:
    """That of the narrowest bins of which `BINS` hold all from `low` to `high`."""
    largest = max(abs(low), abs(high))
    exponent = math.frexp(largest)[1] - _FINEST if largest else _LEAST_EXPONENT
    if high > low:
        exponent = max(exponent, math.frexp((high - low) / BINS)[1] - 1)
    while _bin(high, exponent) - _bin(low, exponent) >= BINS:
        exponent += 1
    return exponent


def _bin(value: float, exponent: int) -> int:
    return math.floor(value * 2.0**-exponent)
