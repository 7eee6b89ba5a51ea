"""Recall against exact search, and the smallest search parameter that reaches a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from st_ray.index.spec import IndexSpec
from st_ray.scoring.topk import PADDING

_LARGEST_EFFORT = 4096
_POINTS_BEYOND = 2
"""So many doublings after the target holds, for the curve to show what more time would buy."""


@dataclass(frozen=True)
class Point:
    """One measurement. `parameter` is None for an index that has none to set."""

    parameter: int | None
    recall: float
    seconds_per_query: float


@dataclass(frozen=True)
class Curve:
    """What was measured, and what to search with.

    Attributes:
        points: by rising parameter.
        target: recall that was asked for.
        chosen: the parameter to search with: the smallest measured one that reaches the target, else that of the
            highest recall; None where there is none to set.
        reached: whether the target was.
        advice: what would reach it; empty if it was.
    """

    points: tuple[Point, ...]
    target: float
    chosen: int | None
    reached: bool
    advice: str = ""

    @property
    def best(self) -> Point:
        """The measurement of the chosen parameter."""
        return next(point for point in self.points if point.parameter == self.chosen)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a manifest or a report."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Curve:
        """The inverse of `to_json`, also after a journey through a JSON file."""
        return cls(**{**fields, "points": tuple(Point(**point) for point in fields["points"])})


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """The share of true neighbours that were found: recall@k, k being the columns of `truth`.

    Args:
        found: positions int64 `[q, m]`, in any order; with `m` above k, this is what rescoring could make of them.
        truth: positions int64 `[q, k]` by exact search; -1 where a query has fewer neighbours.

    Raises:
        ValueError: the queries differ in number, or there are no neighbours to find.
    """
    if len(found) != len(truth):
        raise ValueError(f"{len(found)} queries were searched, {len(truth)} have true neighbours")
    wanted = truth != PADDING
    if not wanted.any():
        raise ValueError("there are no true neighbours to find")
    # One number for a query and a position, so that all queries are looked at together.
    query = np.arange(len(truth))[:, None]
    hits = np.isin(truth * len(truth) + query, found * len(truth) + query)
    return np.count_nonzero(hits & wanted) / np.count_nonzero(wanted)


def parameters_of(spec: IndexSpec, k: int) -> tuple[int, ...]:
    """Parameters to try for an index of `spec`, doubling: up to all lists, or from k to 4096 for a graph; () for none.

    Below `k`, a graph's parameter changes nothing.
    """
    if spec.search_parameter is None:
        return ()
    first, last = (1, spec.nlist) if spec.search_parameter == "nprobe" else (k, max(k, _LARGEST_EFFORT))
    values = [first]
    while values[-1] < last:
        values.append(min(2 * values[-1], last))
    return tuple(values)


def tune(
    search: Callable[[int | None], tuple[np.ndarray, float]],
    truth: np.ndarray,
    parameters: Sequence[int],
    target: float,
    near: int | None = None,
) -> Curve:
    """Measure recall and time along `parameters`, and find the smallest value that reaches `target`.

    They are tried in order, until the target holds and a little beyond; then the gap below the first that reached it
    is halved until it is closed. That finds the smallest if recall never falls as the parameter rises, which holds for
    inverted lists without compression, and elsewhere but for ripples far smaller than what is sampled.

    Where it is known about where to look, only the neighbourhood is measured, and a little of the curve below it: what
    lies beyond takes the most time.

    Args:
        search: gives positions int64 `[q, k]` for a parameter, and the seconds that a query took; it is called with
            None if `parameters` is empty.
        truth: positions int64 `[q, k]` by exact search.
        parameters: rising; see `parameters_of`.
        near: what did before a few rows changed.

    Raises:
        ValueError: what `recall` raises, or a target that is no share.
    """
    if not 0 < target <= 1:
        raise ValueError(f"the target recall must be above 0 and at most 1, not {target}")
    measured: dict[int | None, Point] = {}

    def reaches(parameter: int | None) -> bool:
        if parameter not in measured:
            found, seconds = search(parameter)
            measured[parameter] = Point(parameter, recall(found, truth), seconds)
        return measured[parameter].recall >= target

    if not parameters:
        reaches(None)
    elif near is None:
        _close(*_bracket_along(parameters, reaches), reaches)
    else:
        first, last = parameters[0], parameters[-1]
        smallest = _close(*_bracket_around(near, first, last, reaches), reaches)
        for shown in (smallest // 4, smallest // 2):
            reaches(max(shown, first))
    return _curve(list(measured.values()), target)


def _bracket_along(parameters: Sequence[int], reaches: Callable[[int], bool]) -> tuple[int, int]:
    """The last of the first `parameters` that do not reach, and the first that does; 0 for that where none does."""
    # Nothing below the first one is worth trying: it is the smallest that makes sense.
    low, high, beyond = parameters[0] - 1, 0, 0
    for parameter in parameters:
        if reaches(parameter) or high:
            high = high or parameter
            beyond += 1
            if beyond > _POINTS_BEYOND:
                break
        else:
            low = parameter
    return low, high


def _bracket_around(near: int, first: int, last: int, reaches: Callable[[int], bool]) -> tuple[int, int]:
    """One that does not reach and one that does, by steps away from `near` that double; see `_bracket_along`."""
    low = high = min(max(near, first), last)
    step = 1
    if reaches(low):
        while low >= first and reaches(low):
            high, low, step = low, max(first - 1, low - step), 2 * step
        return low, high
    while not reaches(high):
        if high == last:
            return low, 0
        low, high, step = high, min(last, high + step), 2 * step
    return low, high


def _close(low: int, high: int, reaches: Callable[[int], bool]) -> int:
    """Halve the gap until it is closed; the smallest that reaches, else the last that was tried."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high or low


def _curve(points: list[Point], target: float) -> Curve:
    points.sort(key=lambda point: point.parameter or 0)
    good = [point for point in points if point.recall >= target]
    if good:
        return Curve(tuple(points), target, good[0].parameter, True)
    best = max(points, key=lambda point: point.recall)
    advice = (
        f"recall is {best.recall:.3f} at best, below {target:g}: use a --factory with less compression "
        "(SQ8, SQfp16 or Flat codes; more memory), or rescore more hits than are asked for with the embeddings"
    )
    return Curve(tuple(points), target, best.parameter, False, advice)
