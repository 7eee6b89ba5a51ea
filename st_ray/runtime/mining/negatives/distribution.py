"""How scores are distributed over all parts, exactly, by counting: no task holds more than a part's.

A float32 is counted by its bits, put in the order of the numbers. A first pass counts the upper 16 of them, which tells
where the quantiles are; a second one counts the lower 16 there, which tells what they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from st_ray.core.figure import padded
from st_ray.evaluation.exact import UNITS, exact_dot, exact_mean, exact_sum
from st_ray.mining.negative_statistics import Statistics, shown_scores
from st_ray.runtime.mining.negatives.pairs import read_pair_rows
from st_ray.runtime.mining.negatives.write import mined_of
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.shuffle import grouped_by_rows, spread
from st_ray.store.manifest import ShardEntry

SERIES = ("positives", "negatives", "differences")
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
BINS = 60
_HALF = 1 << 16
_ROWS = 1 << 20
_TASKS = 64
"""Tasks of a pass, at most: each result is half a MiB a series."""


@dataclass(frozen=True)
class Distributions:
    """Of the scores of positives, of negatives, and of their differences.

    Attributes:
        statistics: by series.
        edges: of the bins of the histograms of positives and negatives, float64 `[BINS + 1]`.
        histograms: int64 `[2, BINS]`.
    """

    statistics: tuple[Statistics, ...]
    edges: np.ndarray
    histograms: np.ndarray


@dataclass(frozen=True)
class Pass:
    """What one pass has counted; they add up over parts.

    Attributes:
        count: scores.
        total: their sum, in `UNITS`.
        squares: the sum of their squares, in `UNITS`.
        upper: int64 `[65536]`, how many have which upper half.
    """

    count: int
    total: int
    squares: int
    upper: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray) -> Pass:
        """Of float32 `[m]`."""
        upper = np.bincount(ordered_bits(scores) >> 16, minlength=_HALF)
        return cls(len(scores), exact_sum(scores), exact_dot(scores, scores), upper)

    def __add__(self, other: Pass) -> Pass:
        return Pass(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            self.upper + other.upper,
        )

    @property
    def std(self) -> float:
        """With n - 1 in the denominator, rounded once before the root; NaN of fewer than two."""
        if self.count < 2:
            return math.nan
        spread_units = self.squares * UNITS * self.count - self.total**2
        return math.sqrt(spread_units / (UNITS**2 * self.count * (self.count - 1)))

    @property
    def places(self) -> np.ndarray:
        """The ranks, from 0, between which the quantiles lie: int64 `[5, 2]`."""
        below = np.floor(np.array(LEVELS) * (self.count - 1)).astype(np.int64)
        return np.stack([below, np.minimum(below + 1, self.count - 1)], axis=1)

    @property
    def ends(self) -> tuple[float, float]:
        """Numbers that all scores lie between."""
        used = np.flatnonzero(self.upper)
        bits = np.array([used[0] << 16, used[-1] << 16 | 0xFFFF], np.uint32)
        low, high = numbers_of(bits).astype(np.float64).tolist()
        return low, high

    def halves(self) -> np.ndarray:
        """The upper halves that the quantiles' neighbours have, rising."""
        return np.unique(np.searchsorted(np.cumsum(self.upper), self.places.ravel(), side="right"))

    def statistics(self, halves: np.ndarray, lower: np.ndarray) -> Statistics:
        """The figures.

        Args:
            halves: see `halves`.
            lower: int64 `[h, 65536]`, how many scores with such an upper half have which lower half.
        """
        if not self.count:
            return Statistics.of(np.empty(0, np.float32))
        ends = np.cumsum(self.upper)
        quantiles = []
        for level, ranks in zip(LEVELS, self.places.tolist(), strict=True):
            between = []
            for rank in ranks:
                half = int(np.searchsorted(ends, rank, side="right"))
                within = rank - int(ends[half] - self.upper[half])
                row = lower[int(np.searchsorted(halves, half))]
                low = int(np.searchsorted(np.cumsum(row), within, side="right"))
                between.append(float(numbers_of(np.array([half << 16 | low], np.uint32))[0]))
            share = level * (self.count - 1) % 1
            quantiles.append(float(np.quantile(between, share)))
        least, quarter, median, three_quarters, greatest = quantiles
        mean = exact_mean(self.total, self.count)
        return Statistics(self.count, mean, median, self.std, least, quarter, median, three_quarters, greatest)


def distributions(folder: str, entries: Sequence[ShardEntry], output_format: str, num_negatives: int) -> Distributions:
    """Of the chosen pairs in `folder`, as they stand in the table. Needs a Ray session."""
    rows = [entry.rows for entry in entries]
    groups = grouped_by_rows(entries, rows, max(_ROWS, -(-sum(rows) // _TASKS)))
    how = (output_format, num_negatives)
    passes: list[Pass] = []
    for (ref,) in spread(_first_pass, [(folder, group, *how) for group in groups], 1):
        found = result_of(ref)
        passes = [one + other for one, other in zip(passes, found, strict=True)] if passes else found
    wanted = [one.halves() if one.count else np.empty(0, np.int64) for one in passes]
    ends = [end for one in passes[:2] if one.count for end in one.ends]
    edges = np.linspace(*padded(*ends, margin=0), BINS + 1)
    lower, histograms = [np.zeros((len(halves), _HALF), np.int64) for halves in wanted], np.zeros((2, BINS), np.int64)
    for (ref,) in spread(_second_pass, [(folder, group, *how, wanted, edges) for group in groups], 1):
        more, counted = result_of(ref)
        lower = [one + other for one, other in zip(lower, more, strict=True)]
        histograms += counted
    found_statistics = (one.statistics(halves, rows) for one, halves, rows in zip(passes, wanted, lower, strict=True))
    return Distributions(tuple(found_statistics), edges, histograms)


def ordered_bits(scores: np.ndarray) -> np.ndarray:
    """Numbers uint32 `[m]` that are in the order of float32 `[m]`."""
    bits = np.ascontiguousarray(scores, np.float32).view(np.uint32)
    return bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))


def numbers_of(ordered: np.ndarray) -> np.ndarray:
    """The inverse of `ordered_bits`."""
    return (ordered ^ np.where(ordered >> 31, np.uint32(0x80000000), np.uint32(0xFFFFFFFF))).view(np.float32)


def lower_counts(scores: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """How many of float32 `[m]` with one of the upper `halves` `[h]` have which lower half: int64 `[h, 65536]`."""
    bits = ordered_bits(scores)
    rows = [np.bincount(bits[bits >> 16 == half] & 0xFFFF, minlength=_HALF) for half in halves.tolist()]
    return np.stack(rows) if rows else np.zeros((0, _HALF), np.int64)


def _first_pass(folder: str, group: Sequence[ShardEntry], output_format: str, num_negatives: int) -> list[list[Pass]]:
    total: list[Pass] = []
    for entry in group:
        series = shown_scores(mined_of(read_pair_rows(folder, entry), num_negatives), output_format)
        found = [Pass.of(scores) for scores in series]
        total = [one + other for one, other in zip(total, found, strict=True)] if total else found
    return [total]


def _second_pass(
    folder: str,
    group: Sequence[ShardEntry],
    output_format: str,
    num_negatives: int,
    wanted: Sequence[np.ndarray],
    edges: np.ndarray,
) -> list[tuple[list[np.ndarray], np.ndarray]]:
    lower, histograms = [np.zeros((len(halves), _HALF), np.int64) for halves in wanted], np.zeros((2, BINS), np.int64)
    for entry in group:
        series = shown_scores(mined_of(read_pair_rows(folder, entry), num_negatives), output_format)
        for counts, halves, scores in zip(lower, wanted, series, strict=True):
            counts += lower_counts(scores, halves)
        histograms += [np.histogram(scores, edges)[0] for scores in series[:2]]
    return [(lower, histograms)]
