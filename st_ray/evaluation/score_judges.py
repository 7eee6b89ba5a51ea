"""Judges of the order of scores: best thresholds and average precision, and correlations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from st_ray.core.errors import InputError
from st_ray.evaluation.correlation import CorrelationSums, doubled_ranks
from st_ray.evaluation.judge import LATEST, Figures, Judge, MetricState, Replicates, Scored
from st_ray.evaluation.replicates import correlation_replicates, draws
from st_ray.evaluation.sample import CAPACITY, Sample
from st_ray.evaluation.scores import check_binary
from st_ray.evaluation.thresholds import (
    RangeBests,
    RangeOutline,
    ScoreRange,
    compatible_figures,
    range_bests,
    range_contexts,
    tie_aware_figures,
)


@dataclass(frozen=True)
class OrderedScores:
    """All ranges of scores, by falling score."""

    bests: tuple[RangeBests, ...]
    outlines: tuple[RangeOutline, ...]

    @classmethod
    def of(cls, pairs: ScoreRange) -> OrderedScores:
        """A single range."""
        outlines = (pairs.outline(),)
        return cls((range_bests(pairs, range_contexts(outlines)[0]),), outlines)

    def figures(self) -> Figures:
        """By both ways to choose thresholds."""
        found, latest = compatible_figures(self.bests), tie_aware_figures(self.bests, self.outlines)
        return _floats(asdict(found)) | _floats({LATEST + name: value for name, value in asdict(latest).items()})


@dataclass(frozen=True)
class BinaryClassification(Judge):
    """Average precision, best accuracy and best F1 over all thresholds."""

    class_name = "CEBinaryClassificationEvaluator"
    csv: ClassVar = {
        "Accuracy": "accuracy",
        "Accuracy_Threshold": "accuracy_threshold",
        "F1": "f1",
        "F1_Threshold": "f1_threshold",
        "Precision": "precision",
        "Recall": "recall",
        "Average_Precision": "average_precision",
    }
    primary = "average_precision"
    order = "scores"
    labels = "binary"

    def state(self, pairs: Scored, seed: int, capacity: int = CAPACITY) -> MetricState:
        """See `Judge.state`."""
        positive = check_binary(pairs.labels)
        columns = {"scores": pairs.scores, "labels": positive}
        sample = Sample.of(pairs.rows, columns, seed=seed, capacity=capacity)
        return MetricState(len(pairs.rows), int(np.count_nonzero(positive)), sample)

    def counted(self, state: MetricState) -> dict[str, int]:
        """See `Judge.counted`."""
        return {"positives": state.sums}

    def figures(self, state: MetricState, ordered: Any) -> Figures:
        """See `Judge.figures`."""
        found: Figures = ordered.figures()
        return found

    def replicates(self, sample: Sample, sums: Any) -> Replicates:
        """See `Judge.replicates`."""
        pairs = ScoreRange.of(sample.columns["scores"], sample.columns["labels"])
        size = len(pairs.scores)

        def drawn(rng: np.random.Generator) -> Figures:
            rows = np.repeat(np.arange(size), draws(rng, size))
            return OrderedScores.of(ScoreRange(pairs.scores[rows], pairs.positive[rows])).figures()

        return drawn

    def sample_figures(self, sample: Sample) -> Figures | None:
        """See `Judge.sample_figures`."""
        return OrderedScores.of(ScoreRange.of(sample.columns["scores"], sample.columns["labels"])).figures()


@dataclass(frozen=True)
class Correlation(Judge):
    """Pearson's and Spearman's correlation of gold scores and scores."""

    class_name = "CECorrelationEvaluator"
    csv: ClassVar = {"Pearson_Correlation": "pearson", "Spearman_Correlation": "spearman"}
    primary = "spearman"
    order = "scores and labels"
    labels = "number"

    def state(self, pairs: Scored, seed: int, capacity: int = CAPACITY) -> MetricState:
        """See `Judge.state`."""
        columns = {"scores": pairs.scores, "labels": pairs.labels}
        sample = Sample.of(pairs.rows, columns, seed=seed, capacity=capacity)
        return MetricState(len(pairs.rows), CorrelationSums.of(pairs.labels, pairs.scores), sample)

    def figures(self, state: MetricState, ordered: Any) -> Figures:
        """See `Judge.figures`."""
        if state.pairs < 2:
            raise InputError("one pair has no correlation", "give two pairs or more")
        return {"pearson": state.sums.coefficient, "spearman": ordered.coefficient}

    def replicates(self, sample: Sample, sums: Any) -> Replicates:
        """See `Judge.replicates`."""
        return correlation_replicates(sample.columns["labels"], sample.columns["scores"])

    def sample_figures(self, sample: Sample) -> Figures | None:
        """See `Judge.sample_figures`."""
        gold, scores = sample.columns["labels"], sample.columns["scores"]
        ranks = CorrelationSums.of(doubled_ranks(gold), doubled_ranks(scores))
        return {"pearson": CorrelationSums.of(gold, scores).coefficient, "spearman": ranks.coefficient}


def _floats(figures: Mapping[str, Any]) -> Figures:
    return {name: float(figure) for name, figure in figures.items()}
