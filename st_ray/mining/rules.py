"""Which candidates become negatives: the rules, and their application to queries that may be shared out in any way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from st_ray.mining.candidates import Candidates
from st_ray.mining.filters import Dropped, Filters, passing
from st_ray.mining.sampling import STRATEGIES, random, top

_SPARE = 10
"""Candidates for each negative, where some of them may be dropped."""


@dataclass(frozen=True)
class Rules:
    """Which candidates become negatives.

    Attributes:
        num_negatives: how many a query is to have.
        range_max: how many of the closest documents are candidates, beside as many as the query's positives and its own
            text, which may be among them.
        filters: what they must satisfy, the least rank among it.
        sampling: `top` or `random`.
        seed: of the random sample, from 0 to 2^64 - 1.
        include_positives: let the positives be candidates.
    """

    num_negatives: int
    range_max: int
    filters: Filters = field(default_factory=Filters)
    sampling: str = "top"
    seed: int = 0
    include_positives: bool = False

    def __post_init__(self) -> None:
        if self.num_negatives < 1:
            raise ValueError(f"num_negatives must be 1 or more, not {self.num_negatives}")
        if not 0 <= self.seed < 1 << 64:
            raise ValueError(f"seed must be from 0 to 2^64 - 1, not {self.seed}")
        check_name("sampling_strategy", self.sampling, STRATEGIES)
        if self.num_negatives > self.range:
            raise ValueError(
                f"range_min {self.filters.range_min} and range_max {self.range_max} leave {max(self.range, 0)} "
                f"candidates, and num_negatives is {self.num_negatives}; raise range_max"
            )

    @property
    def range(self) -> int:
        """Candidates that may be chosen from, at most."""
        return self.range_max - self.filters.range_min


def default_range_max(filters: Filters, num_negatives: int, most_positives: int, *, rescored: bool) -> int:
    """Enough candidates for most queries to keep as many as they need.

    Args:
        most_positives: the greatest number of positives that a query has.
        rescored: whether a cross-encoder scores the candidates.
    """
    selective = (filters.absolute_margin, filters.relative_margin, filters.max_score)
    spare = _SPARE if rescored or any(value is not None for value in selective) else 1
    return filters.range_min + spare * num_negatives + most_positives


def least_scores(query: np.ndarray, positive_scores: np.ndarray, queries: int) -> np.ndarray:
    """The least positive score of each of so many queries, float32 `[q]`.

    Args:
        query: int64 `[p]`, of each pair of a query and one of its positives.
        positive_scores: float32 `[p]`.
    """
    least = np.full(queries, np.inf, np.float32)
    np.minimum.at(least, query, positive_scores)
    return least


def select(
    candidates: Candidates,
    bases: np.ndarray,
    rules: Rules,
    codes: Callable[[Candidates], tuple[np.ndarray, np.ndarray]],
) -> tuple[Candidates, list[Dropped]]:
    """The negatives of each query, best first, and what the filters dropped.

    Args:
        candidates: best first.
        bases: float32 `[q]`, see `least_scores`.
        codes: what a random sample is drawn by: numbers of the texts of queries and documents, see `text_codes`.
    """
    passed, dropped = passing(candidates.scores, candidates.ranks(), bases[candidates.query], rules.filters)
    pool = top(candidates[passed], rules.range)
    if rules.sampling == "top":
        return top(pool, rules.num_negatives), dropped
    return random(pool, rules.num_negatives, rules.seed, *codes(pool)), dropped


def check_name(what: str, name: str, known: Sequence[str]) -> None:
    """Raise ValueError unless `name` is one of the `known` ones."""
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}; use one of {', '.join(known)}")
