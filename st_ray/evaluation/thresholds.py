"""Two classes by one score: best accuracy and F1 over all thresholds, and average precision.

Pairs are looked at by falling score, those of equal scores in the order they came in. They may lie in several ranges
of scores, each looked at by itself: all that a range needs of the others are a few counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from st_ray.evaluation.exact import UNITS, exact_sum


@dataclass(frozen=True)
class Cut:
    """A threshold, and what comes of it.

    Attributes:
        value: the accuracy or the F1.
        threshold: of the scores' own type.
        precision, recall: of an F1.
    """

    value: Any
    threshold: Any
    precision: Any = 0
    recall: Any = 0


@dataclass(frozen=True)
class BinaryFigures:
    """The figures of one way to choose thresholds."""

    accuracy: Any
    accuracy_threshold: Any
    f1: Any
    f1_threshold: Any
    precision: Any
    recall: Any
    average_precision: float

    @classmethod
    def of(cls, accuracy: Cut, f1: Cut, average_precision: float) -> BinaryFigures:
        """From the best cuts."""
        return cls(
            accuracy.value, accuracy.threshold, f1.value, f1.threshold, f1.precision, f1.recall, average_precision
        )


@dataclass(frozen=True, eq=False)
class ScoreRange:
    """The pairs whose scores lie in one range, best first.

    Attributes:
        scores: `[n]`, falling.
        positive: `[n]` bool.
    """

    scores: np.ndarray
    positive: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, positive: np.ndarray) -> ScoreRange:
        """From pairs in the order they came in."""
        order = np.argsort(-scores, kind="stable")
        return cls(scores[order], positive[order])

    def outline(self) -> RangeOutline:
        """What the other ranges need of this one."""
        ends = (self.scores[0], self.scores[-1]) if len(self.scores) else None
        return RangeOutline(len(self.scores), int(np.count_nonzero(self.positive)), ends)


@dataclass(frozen=True)
class RangeOutline:
    """Counts of a range's pairs, and its best and its worst score; None where it is empty."""

    count: int
    positives: int
    ends: tuple[Any, Any] | None


@dataclass(frozen=True)
class RangeContext:
    """What lies around a range.

    Attributes:
        before: pairs with better scores; `positives_before` of them are positive.
        count: all pairs; `positives` of them are positive.
        following: the best score below the range; None: there is none.
    """

    before: int
    positives_before: int
    count: int
    positives: int
    following: Any


def range_contexts(outlines: Sequence[RangeOutline]) -> list[RangeContext]:
    """What lies around each of the ranges, which are given by falling score."""
    count, positives = sum(one.count for one in outlines), sum(one.positives for one in outlines)
    contexts = []
    before = positives_before = 0
    for number, outline in enumerate(outlines):
        following = next((lower.ends[0] for lower in outlines[number + 1 :] if lower.ends), None)
        contexts.append(RangeContext(before, positives_before, count, positives, following))
        before += outline.count
        positives_before += outline.positives
    return contexts


@dataclass(frozen=True)
class RangeBests:
    """What a range adds to the figures: its best cuts (None: it has none), and its part of the average precision.

    Attributes:
        by_order: cuts between any two neighbours, even between equal scores, but none behind the last pair.
        by_score: cuts between different scores, and behind the last pair.
        precision_units: exact, see `st_ray.evaluation.exact`.
    """

    by_order: tuple[Cut | None, Cut | None]
    by_score: tuple[Cut | None, Cut | None]
    precision_units: int


def range_bests(pairs: ScoreRange, around: RangeContext) -> RangeBests:
    """Look at one range."""
    scores, n = pairs.scores, len(pairs.scores)
    if not n:
        return RangeBests((None, None), (None, None), 0)
    last = around.following is None
    below = np.append(scores[1:], scores[-1] if last else around.following)
    found = around.positives_before + np.cumsum(pairs.positive)
    taken = around.before + np.arange(1, n + 1)
    accuracy = (found + (around.count - around.positives - (taken - found))) / around.count
    precision = found / taken
    recall = found / around.positives if around.positives else np.zeros(n)
    f1 = np.zeros(n)
    np.divide(2 * precision * recall, precision + recall, out=f1, where=found > 0)

    def bests(rows: np.ndarray, thresholds: np.ndarray) -> tuple[Cut | None, Cut | None]:
        if not len(rows):
            return None, None
        by_accuracy, by_f1 = rows[np.argmax(accuracy[rows])], rows[np.argmax(f1[rows])]
        return (
            Cut(accuracy[by_accuracy], thresholds[by_accuracy]),
            Cut(f1[by_f1], thresholds[by_f1], precision[by_f1], recall[by_f1]),
        )

    middle = (scores + below) / 2
    ends = scores != below
    ends[-1] |= last
    # A midpoint that is rounded down to the next score would let that in.
    apart = np.where(middle == below, scores, middle)
    if last:
        apart[-1] = scores[-1]
    tops = np.flatnonzero(ends)
    gained = np.diff(found[tops], prepend=around.positives_before)
    return RangeBests(
        by_order=bests(np.arange(n - last), middle),
        by_score=bests(tops, apart),
        precision_units=exact_sum(precision[tops] * (gained / around.positives)) if around.positives else 0,
    )


def compatible_figures(bests: Sequence[RangeBests]) -> BinaryFigures:
    """Of all ranges by falling score, as sentence-transformers 3.4.1 chooses thresholds.

    Ties are cut through by the order of the pairs, and neither all pairs nor none are ever called positive.
    """
    accuracy = _best((cuts.by_order[0] for cuts in bests), Cut(0, -1))
    return BinaryFigures.of(accuracy, _best((cuts.by_order[1] for cuts in bests), Cut(0, 0)), _precision(bests))


def tie_aware_figures(bests: Sequence[RangeBests], outlines: Sequence[RangeOutline]) -> BinaryFigures:
    """Of all ranges by falling score, as sentence-transformers 6.2 chooses thresholds.

    Every threshold is tried that a score can be told from, to call none and to call all pairs positive included.
    """
    count, positives = sum(one.count for one in outlines), sum(one.positives for one in outlines)
    top = next(one.ends[0] for one in outlines if one.ends)
    above = np.nextafter(top, np.inf, dtype=np.result_type(top.dtype, np.float16))
    none = Cut((count - positives) / count, above)
    accuracy = _best((cuts.by_score[0] for cuts in bests), none)
    return BinaryFigures.of(accuracy, _best((cuts.by_score[1] for cuts in bests), Cut(0, 0)), _precision(bests))


def _best(cuts: Iterator[Cut | None], best: Cut) -> Cut:
    """The first of the best."""
    for cut in cuts:
        if cut is not None and cut.value > best.value:
            best = cut
    return best


def _precision(bests: Sequence[RangeBests]) -> float:
    return sum(part.precision_units for part in bests) / UNITS


def binary_figures(scores: np.ndarray, positive: np.ndarray) -> tuple[BinaryFigures, BinaryFigures]:
    """The compatible and the tie-aware figures of pairs in the order they came in.

    Args:
        scores: `[n]` floats, n >= 1; higher means positive.
        positive: `[n]` bool.
    """
    pairs = ScoreRange.of(scores, positive)
    outlines = [pairs.outline()]
    bests = [range_bests(pairs, range_contexts(outlines)[0])]
    return compatible_figures(bests), tie_aware_figures(bests, outlines)
