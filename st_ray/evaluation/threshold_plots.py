"""Pictures of scores that are to tell label 1 from label 0: a pair is called positive from a threshold on.

All take scores `[n]` of any float type, finite, and labels `[n]` of 0 and 1, n of 1 or more, and return SVG. One label
may be absent and all scores may be equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from st_ray.core.figure import BLUE, GREEN, GREY, ORANGE, legend_below, metric_text, padded, svg_figure, unit_bins

_POINTS = 1000
_BINS = 10
_Z = 1.959964
"""Of a normal distribution, 95 % lies within this many standard deviations."""


@dataclass(frozen=True, eq=False)
class _Cuts:
    """What comes of calling all scores of a threshold or more positive, for each distinct score.

    Attributes:
        thresholds: `[t]` float64: the distinct scores, rising.
        hits: `[t]` int64: pairs of label 1 from the threshold on.
        called: `[t]` int64: pairs from the threshold on.
        positives: pairs of label 1.
        pairs: all of them.
    """

    thresholds: np.ndarray
    hits: np.ndarray
    called: np.ndarray
    positives: int
    pairs: int

    @classmethod
    def of(cls, scores: np.ndarray, labels: np.ndarray) -> _Cuts:
        """From scores `[n]` and labels `[n]`."""
        thresholds, codes = np.unique(np.asarray(scores, np.float64), return_inverse=True)
        positive = np.bincount(codes[np.asarray(labels) != 0], minlength=len(thresholds))
        hits, called = (np.cumsum(counts[::-1])[::-1] for counts in (positive, np.bincount(codes)))
        return cls(thresholds, hits, called, int(hits[0]), len(codes))

    @property
    def precision(self) -> np.ndarray:
        """`[t]` float64."""
        return self.hits / self.called

    @property
    def recall(self) -> np.ndarray:
        """`[t]` float64; 0 where no label is 1."""
        return self.hits / max(self.positives, 1)

    @property
    def f1(self) -> np.ndarray:
        """`[t]` float64; 0 where no label is 1."""
        return 2 * self.hits / (self.called + self.positives)


def precision_recall(
    scores: np.ndarray, labels: np.ndarray, average_precision: float, chosen: tuple[float, float] | None = None
) -> bytes:
    """Precision against recall in steps, a step a distinct score; the area below is the average precision.

    Args:
        scores: `[n]` float.
        labels: `[n]` 0 or 1.
        average_precision: for the title; NaN where it is not defined.
        chosen: the recall and the precision of the best F1, to be marked.
    """
    cuts = _Cuts.of(scores, labels)
    # A threshold that adds no hit would only draw the fall to the next one in more strokes.
    adds = np.flatnonzero(np.diff(cuts.hits, append=0))[::-1]
    recall, precision = cuts.recall[adds], cuts.precision[adds]
    drawn = _thin(recall, precision)
    share = cuts.positives / cuts.pairs

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        if cuts.positives:
            x, y = recall[drawn], precision[drawn]
            axes.plot([0, *x], [y[0], *y], drawstyle="steps-pre", color=BLUE, linewidth=1.8)
        else:
            axes.text(0.5, 0.5, "no pair has label 1", ha="center", color=GREY)
        axes.axhline(share, linestyle="--", linewidth=1, color=GREY, label=f"chance: {share:.3f} have label 1")
        if chosen is not None:
            at_recall, at_precision = chosen
            f1 = 2 * at_recall * at_precision / max(at_recall + at_precision, 1e-12)
            label = f"best F1 {f1:.3f}: precision {at_precision:.3f}, recall {at_recall:.3f}"
            axes.plot(
                [at_recall], [at_precision], "o", markersize=8, color=ORANGE, clip_on=False, zorder=3, label=label
            )
        title = f"average precision {metric_text(average_precision)}"
        axes.set(xlabel="recall", ylabel="precision", title=title, xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(linewidth=0.3)
        legend_below(figure, columns=1)

    return svg_figure(draw)


def f1_by_threshold(scores: np.ndarray, labels: np.ndarray, best: tuple[float, float] | None = None) -> bytes:
    """F1, precision and recall of calling scores of a threshold or more positive, against the threshold.

    Args:
        scores: `[n]` float.
        labels: `[n]` 0 or 1.
        best: a threshold and its F1, to be marked.
    """
    cuts = _Cuts.of(scores, labels)
    low, high = padded(*cuts.thresholds[[0, -1]], *(best or ())[:1])
    # Above the highest score nothing is called positive: F1 and recall are 0 there, and there is no precision.
    x = np.array([low, *cuts.thresholds, high])
    lines = {
        "F1": (np.array([cuts.f1[0], *cuts.f1, 0]), BLUE, 2.2),
        "precision": (np.array([cuts.precision[0], *cuts.precision]), ORANGE, 1.2),
        "recall": (np.array([cuts.recall[0], *cuts.recall, 0]), GREEN, 1.2),
    }

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for name, (y, color, width) in lines.items():
            drawn = _thin((x[: len(y)] - low) / (high - low), y)
            axes.plot(x[drawn], y[drawn], drawstyle="steps-pre", color=color, linewidth=width, label=name)
        title = "F1 by threshold"
        if best is not None:
            title = f"best F1 {best[1]:.4f} at threshold {best[0]:.4g}"
            axes.axvline(best[0], linestyle="--", linewidth=1, color=GREY)
            axes.plot([best[0]], [best[1]], "o", markersize=8, color=BLUE)
        axes.set(xlabel="threshold", title=title, xlim=(low, high), ylim=(0, 1.02))
        axes.grid(linewidth=0.3)
        legend_below(figure, columns=3)

    return svg_figure(draw)


def calibration(scores: np.ndarray, labels: np.ndarray) -> bytes:
    """Reliability diagram of probabilities: how often label 1 holds among pairs of about the same score.

    Ten bins of equal width; of each that is not empty, the share of label 1, with Wilson's 95 % interval, against the
    mean score, and below the number of its pairs. The title has the expected calibration error of Naeini et al. 2015
    ("Obtaining Well Calibrated Probabilities Using Bayesian Binning"): the mean over all pairs of the distance
    between their bin's share and mean score.

    Args:
        scores: `[n]` float, from 0 to 1.
        labels: `[n]` 0 or 1.

    Raises:
        ValueError: a score is no probability.
    """
    scores = np.asarray(scores, np.float64)
    if not (scores.min() >= 0 and scores.max() <= 1):
        raise ValueError(f"scores from {scores.min():g} to {scores.max():g} are no probabilities")
    bins = unit_bins(scores, _BINS)
    counts = np.bincount(bins, minlength=_BINS)
    used = np.flatnonzero(counts)
    n = counts[used]
    mean = np.bincount(bins, scores, _BINS)[used] / n
    share = np.bincount(bins, np.asarray(labels) != 0, _BINS)[used] / n
    error = float(n @ np.abs(share - mean)) / len(scores)

    def draw(figure: Any) -> None:
        axes, below = figure.subplots(2, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 1], [0, 1], linestyle="--", linewidth=1, color=GREY, label="calibrated")
        axes.vlines(mean, *_wilson(share, n), color=BLUE, linewidth=1.2, label="95 % interval")
        axes.plot(mean, share, "o-", markersize=5, color=BLUE, label="observed")
        axes.set(ylabel="share of label 1", title=f"expected calibration error {error:.4f}", xlim=(0, 1))
        axes.set_ylim(-0.02, 1.02)
        below.stairs(counts, np.linspace(0, 1, _BINS + 1), fill=True, color=BLUE, alpha=0.35)
        for bin_, count in zip(used, n, strict=True):
            below.text((bin_ + 0.5) / _BINS, count, f"{count:,}", ha="center", va="bottom", fontsize=7)
        below.set(xlabel="score", ylabel="pairs", ylim=(0, 1.35 * n.max()), yticks=[])
        axes.grid(linewidth=0.3)
        legend_below(figure, columns=3)

    return svg_figure(draw, (4.8, 4.4))


def _wilson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends `[b]`, `[b]` of Wilson's 95 % interval for a share of n trials."""
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return middle - half, middle + half


def _thin(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Positions of at most `_POINTS` points of a line, evenly along its strokes: `[<= _POINTS]` int64."""
    if len(x) <= _POINTS:
        return np.arange(len(x))
    along = np.cumsum(np.abs(np.diff(x, prepend=x[0])) + np.abs(np.diff(y, prepend=y[0])))
    return np.unique(np.searchsorted(along, np.linspace(0, along[-1], _POINTS)))
