"""What a model under training is measured by: scores and labels of held-out examples to named figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from st_ray.core.errors import ConfigError
from st_ray.evaluation.confusion import Confusion, f1_averages, f1_figures
from st_ray.evaluation.correlation import pearson, spearman
from st_ray.evaluation.exact import mean
from st_ray.evaluation.reranking import sample_figures
from st_ray.evaluation.score_judges import OrderedScores
from st_ray.evaluation.thresholds import ScoreRange
from st_ray.models.activation import sigmoid

Figures = dict[str, float]
_AT_K = 10


@dataclass(frozen=True, eq=False)
class Measured:
    """What a model made of n examples.

    Attributes:
        scores: float32 `[n]` or `[n, x]`.
        labels: float32 `[n, m]`.
        keys: int64 `[n]`, equal where the first texts are; `[0]` where inputs are single texts.
    """

    scores: np.ndarray
    labels: np.ndarray
    keys: np.ndarray


@dataclass(frozen=True)
class Evaluator:
    """One way to measure.

    Attributes:
        name: as --evaluator has it.
        primary: the figure that tells which model is the best; higher is better.
        measure: makes the figures.
    """

    name: str
    primary: str
    measure: Callable[[Measured], Figures]

    def figures(self, found: Measured) -> Figures:
        """All figures; those that are not defined (a constant has no correlation) are left out."""
        return {name: value for name, value in self.measure(found).items() if math.isfinite(value)}


def evaluator_for(name: str, loss: str, binary: bool, ranked: bool = False) -> Evaluator:
    """The evaluator that --evaluator names, or for `auto` the one that suits.

    Args:
        loss: what is trained.
        binary: whether all labels of the evaluation data are 0 or 1.
        ranked: whether the rows of these are queries with documents of their own, relevant ones and others.

    Raises:
        ConfigError: it cannot measure what this loss trains.
    """
    fitting = _FITTING[loss]
    if name == "auto":
        name = _of_probabilities(binary, ranked) if loss == "bce" else fitting[0]
    if name not in fitting:
        raise ConfigError(
            f"--evaluator {name} cannot measure what --loss {loss} trains", f"use one of {', '.join(fitting)}"
        )
    if name in ("binary-classification", "reranking") and not binary:
        raise ConfigError(
            f"--evaluator {name} needs labels 0 and 1, and --eval-data has others",
            "use --evaluator correlation",
        )
    made = _EVALUATORS[name]
    if loss == "bce":  # what the finished model gives
        return replace(made, measure=lambda found: made.measure(replace(found, scores=sigmoid(found.scores))))
    return made


def _of_probabilities(binary: bool, ranked: bool) -> str:
    """The evaluator that suits labels from 0 to 1."""
    if not binary:
        return "correlation"
    return "reranking" if ranked else "binary-classification"


def _correlation(found: Measured) -> Figures:
    gold = found.labels[:, 0]
    return {"pearson": pearson(gold, found.scores), "spearman": spearman(gold, found.scores)}


def _binary(found: Measured) -> Figures:
    figures = OrderedScores.of(ScoreRange.of(found.scores, found.labels[:, 0] == 1)).figures()
    return {name: figures[name] for name in ("average_precision", "accuracy", "f1", "precision", "recall")}


def _reranking(found: Measured) -> Figures:
    """Means over the queries that have relevant and other documents; see `CrossEncoderRerankingEvaluator`.

    Of equal scores, MRR ranks the relevant documents last. The order of the examples does not matter.
    """
    if np.isnan(found.scores).any():
        return {}
    relevant = found.labels[:, 0] == 1
    _, query, counts = np.unique(found.keys, return_inverse=True, return_counts=True)
    positives = np.bincount(query, relevant)
    both = (positives > 0) & (positives < counts)
    order = np.lexsort((~relevant, query))  # relevant documents first, as in the samples of that evaluator
    figures = sample_figures(found.scores[order], relevant[order], counts, _AT_K)
    return {
        "map": mean(figures.average_precision[both]),
        f"mrr@{_AT_K}": mean(figures.pessimistic_mrr[both]),
        f"ndcg@{_AT_K}": mean(figures.ndcg[both]),
    }


def _accuracy(found: Measured) -> Figures:
    return {"accuracy": _confusion(found).accuracy}


def _f1(found: Measured) -> Figures:
    confusion = _confusion(found)
    averages = f1_averages(confusion.gold)
    named = zip(averages, f1_figures(confusion, averages), strict=True)
    return {f"f1_{average}": value for average, value in named} | {"accuracy": confusion.accuracy}


def _confusion(found: Measured) -> Confusion:
    return Confusion.of(found.labels[:, 0].astype(np.int64), np.argmax(found.scores, axis=1))


def _margin(found: Measured) -> Figures:
    margins, wanted = ((values[:, :1] - values[:, 1:]).ravel() for values in (found.scores, found.labels))
    return {
        "spearman": spearman(wanted, margins),
        "pearson": pearson(wanted, margins),
        "same_order": float(np.mean((margins > 0) == (wanted > 0))),
    }


_EVALUATORS: Mapping[str, Evaluator] = {
    "correlation": Evaluator("correlation", "spearman", _correlation),
    "binary-classification": Evaluator("binary-classification", "average_precision", _binary),
    "reranking": Evaluator("reranking", f"ndcg@{_AT_K}", _reranking),
    "softmax-accuracy": Evaluator("softmax-accuracy", "accuracy", _accuracy),
    "f1": Evaluator("f1", "f1_macro", _f1),
    "margin": Evaluator("margin", "spearman", _margin),
}
# For each loss, those that can measure it; the first is taken by default, but see `_of_probabilities`.
_FITTING: Mapping[str, tuple[str, ...]] = {
    "bce": ("binary-classification", "reranking", "correlation"),
    "mse": ("correlation", "binary-classification", "reranking"),
    "margin-mse": ("margin",),
    "ce": ("softmax-accuracy", "f1"),
    "cosine": ("correlation",),
    "cosent": ("correlation",),
    "angle": ("correlation",),
}
