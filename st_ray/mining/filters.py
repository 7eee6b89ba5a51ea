"""Which candidates are too near to a positive, too good or too bad to be negatives, and how many each rule drops."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Filters:
    """What negatives must satisfy; None for no demand. They apply in this order, in float32.

    Attributes:
        range_min: the least rank, from 0, among the query's candidates by falling score.
        absolute_margin: how far below the query's least positive score a score must lie.
        relative_margin: the same, in parts of the absolute value of that positive score.
        max_score: the greatest score.
        min_score: the least score.
    """

    range_min: int = 0
    absolute_margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    min_score: float | None = None

    def __post_init__(self) -> None:
        if self.range_min < 0:
            raise ValueError(f"range_min must be 0 or more, not {self.range_min}")
        for name in _SCORE_FILTERS:
            value = getattr(self, name)
            if value is not None and math.isnan(value):
                raise ValueError(f"{name} is not a number")


@dataclass(frozen=True)
class Dropped:
    """What one filter took away.

    Attributes:
        name: of the filter.
        value: its threshold.
        count: candidates that no filter before it had dropped.
    """

    name: str
    value: float
    count: int


def passing(
    scores: np.ndarray, ranks: np.ndarray, bases: np.ndarray, filters: Filters
) -> tuple[np.ndarray, list[Dropped]]:
    """Which candidates pass all filters, bool `[m]`, and what each filter that is set dropped.

    Args:
        scores: float32 `[m]`, finite.
        ranks: int64 `[m]`, from 0, of each candidate among those of its query.
        bases: float32 `[m]`, the least positive score of the candidate's query.
    """
    passed = ranks >= filters.range_min
    dropped = [Dropped("range_min", filters.range_min, int((~passed).sum()))] if filters.range_min else []
    for name, too_much in _SCORE_FILTERS.items():
        value = getattr(filters, name)
        if value is not None:
            out = passed & too_much(scores, bases, np.float32(value))
            passed &= ~out
            dropped.append(Dropped(name, value, int(out.sum())))
    return passed, dropped


_SCORE_FILTERS: dict[str, Callable[[np.ndarray, np.ndarray, np.float32], np.ndarray]] = {
    "absolute_margin": lambda scores, bases, margin: scores + margin > bases,
    # Not bases * (1 - margin): of a negative score, that would be more than the score itself.
    "relative_margin": lambda scores, bases, margin: scores > bases - np.abs(bases) * margin,
    "max_score": lambda scores, bases, most: scores > most,
    "min_score": lambda scores, bases, least: scores < least,
}
