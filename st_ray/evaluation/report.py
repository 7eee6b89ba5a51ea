"""What an evaluation says: intervals around its figures, the sections of its page, the row of its CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from st_ray.core.page import Section
from st_ray.evaluation import plots, threshold_plots
from st_ray.evaluation.bootstrap import LEVEL, confidence_intervals
from st_ray.evaluation.judge import LATEST, Judge, MetricState
from st_ray.evaluation.reranking_judge import Reranking
from st_ray.evaluation.sample import Sample
from st_ray.evaluation.score_judges import BinaryClassification, Correlation

Intervals = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Findings:
    """An evaluation's result.

    Attributes:
        figures: by name; those that begin with `latest_` in the terms of the latest Sentence Transformers.
        intervals: of the figures, at the level of 95 %.
        replicates: that the intervals are taken of; 0: none were drawn.
    """

    judge: Judge
    state: MetricState
    figures: Mapping[str, float]
    intervals: Intervals
    replicates: int

    @property
    def own(self) -> dict[str, float]:
        """The figures of the class itself."""
        return {name: figure for name, figure in self.figures.items() if not name.startswith(LATEST)}

    @property
    def latest(self) -> dict[str, float]:
        """Those in the latest terms, by their names there."""
        return {name.removeprefix(LATEST): figure for name, figure in self.figures.items() if name.startswith(LATEST)}


def find_intervals(
    judge: Judge, state: MetricState, figures: Mapping[str, float], replicates: int, seed: int
) -> Findings:
    """The figures with their confidence intervals; the same for any cut of the pairs, and any order of the parts."""
    intervals: Intervals = {}
    if replicates:
        sample = state.sample
        centre = None if sample.complete else judge.sample_figures(sample)
        intervals = confidence_intervals(
            figures,
            judge.replicates(sample, state.sums),
            replicates=replicates,
            seed=seed,
            share=1.0 if centre is None else len(sample.rows) / sample.seen,
            centre=centre,
        )
    return Findings(judge, state, figures, intervals, replicates)


def csv_row(columns: Mapping[str, float]) -> bytes:
    """A CSV file as an evaluator's class writes it, with one row; epoch and steps are -1."""
    sink = io.StringIO(newline="")
    writer = csv.writer(sink)
    writer.writerow(["epoch", "steps", *columns])
    writer.writerow([-1, -1, *columns.values()])
    return sink.getvalue().encode()


def sections(findings: Findings, title: str = "") -> list[Section]:
    """Of the page: figures first, then pictures, which `title` tells from others of their kind."""
    parts = [figure_table(findings.own, findings.intervals, findings.replicates)]
    if findings.latest:
        text = (
            "As the latest Sentence Transformers defines them: thresholds lie between distinct scores, and of "
            "documents with equal scores the last is ranked first."
        )
        parts.append(Section("Figures in the latest terms", text, _table(findings.latest, findings.intervals, LATEST)))
    return [
        *parts,
        *(replace(one, title=f"{one.title}: {title}" if title else one.title) for one in _pictures(findings)),
    ]


def figure_table(figures: Mapping[str, float | None], intervals: Intervals, replicates: int) -> Section:
    """The section that tells the figures; None stands for one that is not defined."""
    percent = f"{100 * LEVEL:g} %"
    drawn = f"Intervals: {percent}, of {replicates:,} bootstrap replicates." if replicates else ""
    return Section("Figures", drawn, _table(figures, intervals))


def _table(figures: Mapping[str, float | None], intervals: Intervals, prefix: str = "") -> list[tuple[str, ...]]:
    """`prefix` stands before the figures' names among the intervals'."""
    rows: list[tuple[str, ...]] = [("figure", "value", "from", "to")]
    for name, figure in figures.items():
        bounds = [f"{bound:.4f}" for bound in intervals.get(prefix + name, ())] or ["", ""]
        rows.append((name.replace("_", " "), "–" if figure is None else f"{figure:.6f}", *bounds))
    return rows


def _pictures(findings: Findings) -> list[Section]:
    draw = _PICTURES.get(type(findings.judge), _of_classes)
    return draw(findings, _drawn_from(findings.state.sample))


def _of_classes(findings: Findings, text: str) -> list[Section]:
    confusion = findings.state.sums
    names = [str(label) for label in confusion.labels.tolist()]
    text = "Rows are gold labels, columns predicted ones; colours are shares of a row."
    return [Section("Confusion", text, picture=plots.confusion(confusion.counts, names))]


def _of_queries(findings: Findings, text: str) -> list[Section]:
    columns = findings.state.sample.columns
    shown = {"MRR": "mrr", "nDCG": "ndcg", "average precision": "map"}
    values = {title: columns[name][columns["both"]] for title, name in shown.items()}
    return [Section("Figures by query", text, picture=plots.query_values(values))]


def _of_scores(findings: Findings, text: str) -> list[Section]:
    figures = findings.figures
    scores, labels = findings.state.sample.columns["scores"], findings.state.sample.columns["labels"].astype(np.int64)
    chosen = (figures[LATEST + "recall"], figures[LATEST + "precision"])
    best = (figures[LATEST + "f1_threshold"], figures[LATEST + "f1"])
    curve = threshold_plots.precision_recall(scores, labels, figures["average_precision"], chosen)
    found = [
        ("Precision and recall", curve),
        ("Scores by label", plots.scores_by_label(scores, labels)),
        ("F1 by threshold", threshold_plots.f1_by_threshold(scores, labels, best)),
    ]
    if len(scores) and scores.min() >= 0 and scores.max() <= 1:
        found.append(("Calibration", threshold_plots.calibration(scores, labels)))
    return [Section(title, text, picture=picture) for title, picture in found]


def _of_correlation(findings: Findings, text: str) -> list[Section]:
    figures, columns = findings.figures, findings.state.sample.columns
    picture = plots.predicted_by_gold(columns["scores"], columns["labels"], figures["pearson"], figures["spearman"])
    return [Section("Predicted and gold", text, picture=picture)]


_PICTURES = {BinaryClassification: _of_scores, Correlation: _of_correlation, Reranking: _of_queries}
"""Other judges are those of classes."""


def _drawn_from(sample: Sample) -> str:
    return "" if sample.complete else f"Drawn from a random sample of {len(sample.rows):,} of {sample.seen:,}."


def finite(values: Mapping[str, Any] | Sequence[float]) -> Any:
    """The values as JSON can hold them: null for what is not finite."""
    if isinstance(values, Mapping):
        return {name: finite(value) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [finite(value) for value in values]
    return values if not isinstance(values, float) or np.isfinite(values) else None
