"""Pictures of scores against labels, gold values, queries and classes. Each returns SVG.

Those of scores that are to tell two labels apart are in `threshold_plots`. Scores are of any float type and finite;
there is one row at least.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from st_ray.core.figure import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    figure_text,
    legend_below,
    metric_text,
    padded,
    svg_figure,
    unit_bins,
)

_COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00")
_BINS = 40
_BINS_OF_VALUES = 20
_FEW = 12
"""Distinct gold values that each get a bin of their own."""
_POINTS = 2000
_NAMES = 20
"""Classes that are named, and whose counts are written."""
_WIDTH = 28
"""Characters of names that stand side by side below a confusion matrix."""


def scores_by_label(scores: np.ndarray, labels: np.ndarray) -> bytes:
    """Histograms of the scores over one another, one a label: which share of its pairs is in each bin.

    Args:
        scores: `[n]` float.
        labels: `[n]` integers or strings. Of more than 5, the 5 most frequent are drawn, and all others as one.
    """
    names, codes, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    drawn = np.sort(np.argsort(-counts, kind="stable")[: len(_COLOURS)])
    series = [(f"label {names[at]}", codes == at, color) for at, color in zip(drawn, _COLOURS, strict=False)]
    if len(names) > len(drawn):
        series.append(("all others", ~np.isin(codes, drawn), GREY))
    scores = np.asarray(scores, np.float64)
    edges = np.linspace(*padded(scores.min(), scores.max(), margin=0), _BINS + 1)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for name, member, color in series:
            found = np.histogram(scores[member], edges)[0]
            label = f"{figure_text(name)}: {found.sum():,}"
            axes.stairs(found / found.sum(), edges, fill=True, color=color, alpha=0.25)
            axes.stairs(found / found.sum(), edges, color=color, linewidth=1.5, label=label)
        axes.set(xlabel="score", ylabel="share of the label's pairs", title=f"scores of {len(scores):,} pairs")
        axes.grid(linewidth=0.3)
        legend_below(figure, columns=2)

    return svg_figure(draw)


def predicted_by_gold(scores: np.ndarray, golds: np.ndarray, pearson: float, spearman: float) -> bytes:
    """Predicted scores against gold ones, and the mean predicted one by gold.

    Up to 2,000 pairs are points; of more, cells are coloured by how many there are, on a logarithmic scale. The means
    are those of each gold value if there are at most 12, else of ten bins of equal width.

    Args:
        scores: `[n]` float: predicted.
        golds: `[n]` float.
        pearson: for the title; NaN where it is not defined.
        spearman: as `pearson`.
    """
    scores, golds = np.asarray(scores, np.float64), np.asarray(golds, np.float64)
    mean_gold, mean_score = _means(golds, scores)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        if len(scores) <= _POINTS:
            axes.plot(golds, scores, "o", markersize=3, markeredgewidth=0, alpha=0.35, color=BLUE, label="pairs")
        else:
            _draw_counts(figure, axes, golds, scores)
        axes.plot(mean_gold, mean_score, "o-", markersize=5, color=ORANGE, label="mean prediction")
        title = f"Pearson {metric_text(pearson)}, Spearman {metric_text(spearman)}"
        axes.set(xlabel="gold", ylabel="predicted", title=title)
        axes.grid(linewidth=0.3)
        legend_below(figure, columns=2)

    return svg_figure(draw)


def query_values(values_by_metric: Mapping[str, np.ndarray]) -> bytes:
    """How the values of a metric are spread over the queries, a histogram a metric side by side, means marked.

    Args:
        values_by_metric: one metric or more, of each `[q]` float from 0 to 1.
    """
    columns = min(len(values_by_metric), 3)
    rows = math.ceil(len(values_by_metric) / columns)

    def draw(figure: Any) -> None:
        panels = figure.subplots(rows, columns, squeeze=False)
        for axes, (name, values) in zip(panels.flat, values_by_metric.items(), strict=False):
            mean = np.asarray(values, np.float64).mean()
            found = np.bincount(unit_bins(values, _BINS_OF_VALUES), minlength=_BINS_OF_VALUES)
            axes.stairs(found, np.linspace(0, 1, len(found) + 1), fill=True, color=BLUE, alpha=0.6)
            axes.axvline(mean, color=ORANGE, linewidth=2)
            axes.set_title(f"{figure_text(name)}\nmean {mean:.4f}")
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            axes.set_xlim(0, 1)
            axes.locator_params("y", nbins=4, integer=True)
            axes.grid(linewidth=0.3)
        for axes in panels.flat[len(values_by_metric) :]:
            axes.set_axis_off()
        panels[0, 0].set_ylabel("queries")

    return svg_figure(draw, (0.3 + 1.6 * columns, 0.3 + 2.2 * rows))


def confusion(matrix: np.ndarray, names: Sequence[str]) -> bytes:
    """How many pairs of each gold class got which predicted class; colours are shares of the gold class.

    Args:
        matrix: `[c, c]` int: gold by predicted. A class may have no pair.
        names: `[c]` of the classes. Of more than 20, only some are written, and no counts.
    """
    matrix = np.asarray(matrix)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    named = range(0, len(matrix), math.ceil(len(matrix) / _NAMES))
    written = [figure_text(names[at], 20) for at in named]
    longest = max(map(len, written))

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", interpolation="none", aspect="auto")
        if len(matrix) <= _NAMES:
            size, pattern = max(6, 10 - 0.3 * len(matrix)), "{:,}" if len(matrix) <= 10 else "{}"
            for (gold, predicted), count in np.ndenumerate(matrix):
                color = "white" if shares[gold, predicted] > 0.65 else "black"
                text = pattern.format(count)
                axes.text(predicted, gold, text, ha="center", va="center", fontsize=size, color=color)
        axes.set_yticks(named, written)
        axes.set_xticks(named, written)
        if longest * len(written) > _WIDTH:
            axes.tick_params("x", rotation=45)
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        axes.set(xlabel="predicted", ylabel="gold")
        figure.colorbar(image, ax=axes, label="share of the gold class")

    side = min(max(4.8, 1.8 + 0.4 * len(matrix)), 9.8)
    return svg_figure(draw, (side, 0.8 * side))


def _means(golds: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean gold and mean score `[b]`, `[b]` of the bins of gold that are not empty, rising."""
    bins = np.searchsorted(_gold_edges(golds, 10)[1:-1], golds, side="right")
    counts = np.bincount(bins)
    used = np.flatnonzero(counts)
    return np.bincount(bins, golds)[used] / counts[used], np.bincount(bins, scores)[used] / counts[used]


def _gold_edges(golds: np.ndarray, bins: int) -> np.ndarray:
    """Between few gold values, or those of `bins` bins of equal width."""
    distinct = np.unique(golds)
    if len(distinct) > _FEW or len(distinct) == 1:
        return np.linspace(*padded(*distinct[[0, -1]], margin=0), bins + 1)
    middle = (distinct[1:] + distinct[:-1]) / 2
    return np.concatenate([[2 * distinct[0] - middle[0]], middle, [2 * distinct[-1] - middle[-1]]])


def _draw_counts(figure: Any, axes: Any, golds: np.ndarray, scores: np.ndarray) -> None:
    from matplotlib.colors import LogNorm

    edges = [_gold_edges(golds, _BINS), np.linspace(*padded(scores.min(), scores.max(), margin=0), _BINS + 1)]
    counts = np.histogram2d(golds, scores, edges)[0].T
    norm = LogNorm(1, max(counts.max(), 10))
    seen = np.ma.masked_equal(counts, 0)
    cells = axes.pcolormesh(*edges, seen, norm=norm, cmap="Blues", edgecolors="face", linewidth=0.4)
    figure.colorbar(cells, ax=axes, label="pairs", format="{x:,.0f}")
