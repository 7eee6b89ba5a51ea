"""Judges of predicted classes: accuracy and F1, of which counts are all that must be kept."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from st_ray.evaluation.confusion import Confusion, f1_averages, f1_figures
from st_ray.evaluation.judge import Figures, Judge, MetricState, Replicates, Scored
from st_ray.evaluation.sample import CAPACITY, Sample


@dataclass(frozen=True)
class _Counting(Judge):
    """Judges of predicted classes: counts are all they need."""

    def state(self, pairs: Scored, seed: int, capacity: int = CAPACITY) -> MetricState:
        """See `Judge.state`."""
        nothing = Sample.of(np.zeros(0, np.int64), {}, seed=seed, capacity=0)
        return MetricState(len(pairs.rows), Confusion.of(pairs.labels, self._predicted(pairs.scores)), nothing)

    @abstractmethod
    def _predicted(self, scores: np.ndarray) -> np.ndarray:
        """Classes, int64 `[n]`."""

    def replicates(self, sample: Sample, sums: Any) -> Replicates:
        """See `Judge.replicates`."""
        return lambda rng: self._of(sums.resampled(rng))

    def figures(self, state: MetricState, ordered: Any) -> Figures:
        """See `Judge.figures`."""
        return self._of(state.sums)

    def _of(self, confusion: Confusion) -> Figures:
        return {"accuracy": confusion.accuracy}


@dataclass(frozen=True)
class BinaryAccuracy(_Counting):
    """Scores above `threshold` mean 1."""

    threshold: float = 0.5
    class_name = "CEBinaryAccuracyEvaluator"
    csv: ClassVar = {"Accuracy": "accuracy"}
    primary = "accuracy"
    labels = "binary"

    def _predicted(self, scores: np.ndarray) -> np.ndarray:
        return (scores > self.threshold).astype(np.int64)


@dataclass(frozen=True)
class SoftmaxAccuracy(_Counting):
    """The class with the highest score is predicted."""

    class_name = "CESoftmaxAccuracyEvaluator"
    csv: ClassVar = {"Accuracy": "accuracy"}
    primary = "accuracy"
    several_scores = True

    def _predicted(self, scores: np.ndarray) -> np.ndarray:
        return np.argmax(scores, axis=1)


@dataclass(frozen=True)
class F1(SoftmaxAccuracy):
    """F1 of the predicted classes."""

    class_name = "CEF1Evaluator"
    csv: ClassVar = {
        "Binary F1 score": "f1_binary",
        "Macro F1 score": "f1_macro",
        "Micro F1 score": "f1_micro",
        "Weighted F1 score": "f1_weighted",
    }
    primary = "f1_macro"

    def replicates(self, sample: Sample, sums: Any) -> Replicates:
        """See `Judge.replicates`."""
        return lambda rng: self._f1(sums.resampled(rng), sums)

    def figures(self, state: MetricState, ordered: Any) -> Figures:
        """See `Judge.figures`."""
        return self._f1(state.sums, state.sums)

    def _f1(self, confusion: Confusion, whole: Confusion) -> Figures:
        averages = f1_averages(whole.gold)
        return {
            f"f1_{average}": value for average, value in zip(averages, f1_figures(confusion, averages), strict=True)
        }
