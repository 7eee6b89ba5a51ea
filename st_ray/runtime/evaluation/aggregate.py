"""From the parts of scores to figures: evaluators gather states of parts, then ranges of scores are put in order.

A range holds the pairs whose scores lie between two bounds. Pairs of equal scores are always in one range, in the order
of the data, so that bounds, and how many there are, change no figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from st_ray.core.errors import InputError
from st_ray.evaluation.correlation import CorrelationSums, doubled_ranks
from st_ray.evaluation.judge import Judge, MetricState, Scored
from st_ray.evaluation.sample import CAPACITY, Sample
from st_ray.evaluation.score_judges import OrderedScores
from st_ray.evaluation.thresholds import RangeContext, RangeOutline, ScoreRange, range_bests, range_contexts
from st_ray.store.scores import ScoresPart

RANGE_PAIRS = 2_000_000
"""Of a range, about: what one worker puts in order."""


class Crew(Protocol):
    """Who does the work."""

    @property
    def size(self) -> int:
        """Evaluators."""

    def states(self, judge: Judge, groups: Sequence[Sequence[ScoresPart]], seed: int) -> list[MetricState]:
        """The state of each group of parts (see `absorbed`), one an evaluator."""

    def spread(self, task: Callable[..., Sequence[Any]], calls: Sequence[Sequence[Any]], count: int) -> list[list[Any]]:
        """References to the `count` values of `task` for each call's arguments."""

    def value(self, ref: Any) -> Any:
        """What a reference stands for."""


class Here:
    """This process."""

    size = 1

    def states(self, judge: Judge, groups: Sequence[Sequence[ScoresPart]], seed: int) -> list[MetricState]:
        """See `Crew.states`."""
        return [absorbed(judge, group, seed) for group in groups]

    def spread(self, task: Callable[..., Sequence[Any]], calls: Sequence[Sequence[Any]], count: int) -> list[list[Any]]:
        """See `Crew.spread`."""
        return [list(task(*call)) for call in calls]

    def value(self, ref: Any) -> Any:
        """See `Crew.value`."""
        return ref


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        figures: all of them, by name.
    """

    state: MetricState
    figures: dict[str, float]


def evaluate(
    judge: Judge, parts: Sequence[ScoresPart], crew: Crew, seed: int, range_pairs: int = RANGE_PAIRS
) -> Evaluation:
    """The figures of all parts; neither cut nor crew change them.

    Args:
        parts: at least one, in the order of the data.

    Raises:
        InputError: a part is missing or damaged, there are no pairs, or the figures are not defined for them.
    """
    parts = [part for part in parts if part.rows]
    if not parts:
        raise InputError("there are no scored pairs", "check the data")
    groups = [list(group) for group in np.array_split(np.arange(len(parts)), min(crew.size, len(parts)))]
    state = MetricState.merged(crew.states(judge, [[parts[number] for number in group] for group in groups], seed))
    ordered: Any = None
    if judge.order == "scores":
        ordered = _order_scores(parts, _bounds(state, "scores", range_pairs), crew)
    elif judge.order == "scores and labels":
        bounds = {name: _bounds(state, name, range_pairs) for name in ("labels", "scores")}
        ordered = _rank_both(parts, bounds["labels"], bounds["scores"], crew)
    return Evaluation(state, judge.figures(state, ordered))


def absorbed(judge: Judge, parts: Sequence[ScoresPart], seed: int) -> MetricState:
    """The state of some parts, at least one, read one after another."""
    state: MetricState | None = None
    for part in parts:
        rows, labels, scores = part.read()
        try:
            more = judge.state(Scored(rows, labels, scores), seed, CAPACITY)
        except InputError as error:
            raise InputError(f"{part.url}: {error.message}", error.remedy) from error
        state = more if state is None else MetricState.merged([state, more])
    if state is None:
        raise ValueError("no parts")
    return state


def _bounds(state: MetricState, column: str, range_pairs: int) -> np.ndarray:
    """Values at which ranges of about `range_pairs` pairs begin, but for the first."""
    sample: Sample = state.sample
    ranges = -(-state.pairs // range_pairs)
    places = np.arange(1, ranges) * len(sample.rows) // ranges
    return np.unique(np.sort(sample.columns[column])[places])


def _ranges(values: np.ndarray, bounds: np.ndarray) -> list[np.ndarray]:
    """The rows of each range, rising, by `values` `[n]`."""
    numbers = np.searchsorted(bounds, values, side="right")
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers, minlength=len(bounds) + 1))[:-1])


def _order_scores(parts: Sequence[ScoresPart], bounds: np.ndarray, crew: Crew) -> OrderedScores:
    count = len(bounds) + 1
    pieces = crew.spread(_split_scores, [(part, bounds) for part in parts], count + 1)
    by_part = [crew.value(piece[count]) for piece in pieces]
    numbers = range(count - 1, -1, -1)
    outlines = [_joined([outlines[number] for outlines in by_part]) for number in numbers]
    contexts = range_contexts(outlines)
    calls = [(around, *(piece[number] for piece in pieces)) for number, around in zip(numbers, contexts, strict=True)]
    bests = [crew.value(ref) for (ref,) in crew.spread(_bests, calls, 1)]
    return OrderedScores(tuple(bests), tuple(outlines))


def _split_scores(part: ScoresPart, bounds: np.ndarray) -> list[Any]:
    """Scores and labels of the part's pairs in each range, and the ranges' outlines."""
    _, labels, scores = part.read()
    pieces = [(scores[rows], labels[rows] == 1) for rows in _ranges(scores, bounds)]
    return [*pieces, [_outline(*piece) for piece in pieces]]


def _outline(scores: np.ndarray, positive: np.ndarray) -> RangeOutline:
    ends = (scores.max(), scores.min()) if len(scores) else None
    return RangeOutline(len(scores), int(np.count_nonzero(positive)), ends)


def _joined(outlines: Sequence[RangeOutline]) -> RangeOutline:
    """The outline of a range whose parts' outlines are given."""
    ends = [outline.ends for outline in outlines if outline.ends]
    return RangeOutline(
        sum(outline.count for outline in outlines),
        sum(outline.positives for outline in outlines),
        (max(best for best, _ in ends), min(worst for _, worst in ends)) if ends else None,
    )


def _bests(around: RangeContext, *pieces: tuple[np.ndarray, np.ndarray]) -> list[Any]:
    scores, positive = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return [range_bests(ScoreRange.of(scores, positive), around)]


def _rank_both(
    parts: Sequence[ScoresPart], label_bounds: np.ndarray, score_bounds: np.ndarray, crew: Crew
) -> CorrelationSums:
    """The sums of the ranks of labels and scores: first all labels are ranked, range by range, then all scores."""
    labels, scores = len(label_bounds) + 1, len(score_bounds) + 1
    by_label = crew.spread(_split_labels, [(part, label_bounds) for part in parts], labels + 1)
    calls = [
        (before, score_bounds, *(pieces[number] for pieces in by_label))
        for number, before in enumerate(_counts_before([crew.value(pieces[labels]) for pieces in by_label]))
    ]
    by_score = crew.spread(_rank_labels, calls, scores + 1)
    calls = [
        (before, *(pieces[number] for pieces in by_score))
        for number, before in enumerate(_counts_before([crew.value(pieces[scores]) for pieces in by_score]))
    ]
    return sum((crew.value(ref) for (ref,) in crew.spread(_rank_scores, calls, 1)), CorrelationSums())


def _counts_before(counts: Sequence[np.ndarray]) -> list[int]:
    """How many pairs lie in smaller ranges, from their counts in each part."""
    return [0, *np.cumsum(np.sum(counts, axis=0))[:-1].tolist()]


def _split_labels(part: ScoresPart, bounds: np.ndarray) -> list[Any]:
    _, labels, scores = part.read()
    return _pieces(labels, scores, labels, bounds)


def _rank_labels(before: int, bounds: np.ndarray, *pieces: tuple[np.ndarray, np.ndarray]) -> list[Any]:
    labels, scores = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return _pieces(doubled_ranks(labels, before), scores, scores, bounds)


def _rank_scores(before: int, *pieces: tuple[np.ndarray, np.ndarray]) -> list[Any]:
    ranks, scores = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return [CorrelationSums.of(ranks, doubled_ranks(scores, before))]


def _pieces(one: np.ndarray, other: np.ndarray, key: np.ndarray, bounds: np.ndarray) -> list[Any]:
    """Both columns of each range of `key`, and how many rows each has."""
    ranges = _ranges(key, bounds)
    return [*((one[rows], other[rows]) for rows in ranges), np.array([len(rows) for rows in ranges])]
