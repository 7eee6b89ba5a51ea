"""What a model under training is measured by: scores and labels of held-out examples to named figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from st_ray.core.errors import ConfigError
from st_ray.evaluation.confusion import Confusion, f1_averages, f1_figures
from st_ray.evaluation.correlation import pearson, spearman
from st_ray.evaluation.score_judges import OrderedScores
from st_ray.evaluation.thresholds import ScoreRange
from st_ray.models.activation import sigmoid

Figures = dict[str, float]


@dataclass(frozen=True)
class Evaluator:
    """One way to measure.

    Attributes:
        name: as --evaluator has it.
        primary: the figure that tells which model is the best; higher is better.
        measure: figures of scores, float32 `[n]` or `[n, x]`, and labels, float32 `[n, m]`.
    """

    name: str
    primary: str
    measure: Callable[[np.ndarray, np.ndarray], Figures]

    def figures(self, scores: np.ndarray, labels: np.ndarray) -> Figures:
        """All figures; those that are not defined (a constant has no correlation) are left out."""
        return {name: value for name, value in self.measure(scores, labels).items() if math.isfinite(value)}


def evaluator_for(name: str, loss: str, binary: bool) -> Evaluator:
    """The evaluator that --evaluator names, or for `auto` the one that suits.

    Args:
        loss: what is trained.
        binary: whether all labels of the evaluation data are 0 or 1.

    Raises:
        ConfigError: it cannot measure what this loss trains.
    """
    fitting = _FITTING[loss]
    if name == "auto":
        name = "correlation" if fitting[0] == "binary-classification" and not binary else fitting[0]
    if name not in fitting:
        raise ConfigError(
            f"--evaluator {name} cannot measure what --loss {loss} trains", f"use one of {', '.join(fitting)}"
        )
    if name == "binary-classification" and not binary:
        raise ConfigError(
            "--evaluator binary-classification needs labels 0 and 1, and --eval-data has others",
            "use --evaluator correlation",
        )
    made = _EVALUATORS[name]
    if loss == "bce":  # what the finished model gives
        return Evaluator(name, made.primary, lambda scores, labels: made.measure(sigmoid(scores), labels))
    return made


def _correlation(scores: np.ndarray, labels: np.ndarray) -> Figures:
    return {"pearson": pearson(labels[:, 0], scores), "spearman": spearman(labels[:, 0], scores)}


def _binary(scores: np.ndarray, labels: np.ndarray) -> Figures:
    found = OrderedScores.of(ScoreRange.of(scores, labels[:, 0] == 1)).figures()
    return {name: found[name] for name in ("average_precision", "accuracy", "f1", "precision", "recall")}


def _accuracy(scores: np.ndarray, labels: np.ndarray) -> Figures:
    return {"accuracy": _confusion(scores, labels).accuracy}


def _f1(scores: np.ndarray, labels: np.ndarray) -> Figures:
    confusion = _confusion(scores, labels)
    averages = f1_averages(confusion.gold)
    named = zip(averages, f1_figures(confusion, averages), strict=True)
    return {f"f1_{average}": value for average, value in named} | {"accuracy": confusion.accuracy}


def _confusion(scores: np.ndarray, labels: np.ndarray) -> Confusion:
    return Confusion.of(labels[:, 0].astype(np.int64), np.argmax(scores, axis=1))


def _margin(scores: np.ndarray, labels: np.ndarray) -> Figures:
    found, wanted = ((values[:, :1] - values[:, 1:]).ravel() for values in (scores, labels))
    return {
        "spearman": spearman(wanted, found),
        "pearson": pearson(wanted, found),
        "same_order": float(np.mean((found > 0) == (wanted > 0))),
    }


_EVALUATORS: Mapping[str, Evaluator] = {
    "correlation": Evaluator("correlation", "spearman", _correlation),
    "binary-classification": Evaluator("binary-classification", "average_precision", _binary),
    "softmax-accuracy": Evaluator("softmax-accuracy", "accuracy", _accuracy),
    "f1": Evaluator("f1", "f1_macro", _f1),
    "margin": Evaluator("margin", "spearman", _margin),
}
# For each loss, those that can measure it; the first is taken by default.
_FITTING: Mapping[str, tuple[str, ...]] = {
    "bce": ("binary-classification", "correlation"),
    "mse": ("correlation",),
    "margin-mse": ("margin",),
    "ce": ("softmax-accuracy", "f1"),
    "cosine": ("correlation",),
    "cosent": ("correlation",),
    "angle": ("correlation",),
}
