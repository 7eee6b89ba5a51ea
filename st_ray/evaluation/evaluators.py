"""The cross-encoder evaluators of sentence-transformers 3.4.1: the same arguments, return values and CSV files.

The successors of these classes, with the thresholds of later releases, are in `st_ray.evaluation.successors`. Three
things differ. Weighted F1 weighs classes by their gold labels, not by predicted ones. Documents of equal scores are
ranked in the order they are given, the positives first, where 3.4.1 leaves it to an unstable sort. And what cannot be
evaluated (a score that is not a number, a model with the wrong number of labels) is an InputError that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from st_ray.core.errors import InputError
from st_ray.evaluation.confusion import Confusion, f1_averages, f1_figures
from st_ray.evaluation.correlation import pearson, spearman
from st_ray.evaluation.documents import JudgedDocuments, SampleEvaluator, as_texts, check_keys
from st_ray.evaluation.evaluator import PairEvaluator, Pairs, Predictor
from st_ray.evaluation.exact import mean
from st_ray.evaluation.scores import check_binary, one_score_each, predicted_classes
from st_ray.evaluation.thresholds import binary_figures


class CEBinaryAccuracyEvaluator(PairEvaluator):
    """Accuracy of a model with one label, whose scores above a fixed threshold mean 1. Returns the accuracy."""

    csv_headers = ("epoch", "steps", "Accuracy")

    def __init__(
        self,
        sentence_pairs: Pairs,
        labels: Sequence[int],
        name: str = "",
        threshold: float = 0.5,
        write_csv: bool = True,
    ) -> None:
        super().__init__(sentence_pairs, labels, name, write_csv)
        self.labels = labels
        self.threshold = threshold

    def _figures(self, model: Predictor) -> Sequence[Any]:
        scores = one_score_each(self._predict(model), len(self._gold), self._describe)
        return [np.sum((scores > self.threshold) == self._gold) / len(self._gold)]


class CEBinaryClassificationEvaluator(PairEvaluator):
    """Average precision, and the best accuracy and F1 over all thresholds. Returns the average precision.

    Raises:
        InputError: a label is neither 0 nor 1.
    """

    csv_headers = (
        "epoch", "steps", "Accuracy", "Accuracy_Threshold", "F1", "F1_Threshold", "Precision", "Recall",
        "Average_Precision",
    )  # fmt: skip

    def __init__(
        self,
        sentence_pairs: Pairs,
        labels: Sequence[int],
        name: str = "",
        show_progress_bar: bool = False,
        write_csv: bool = True,
    ) -> None:
        super().__init__(sentence_pairs, labels, name, write_csv)
        self.labels = self._gold
        self.show_progress_bar = show_progress_bar
        self._positive = check_binary(self._gold)

    def _figures(self, model: Predictor) -> Sequence[Any]:
        predicted = self._predict(model, show_progress_bar=self.show_progress_bar)
        scores = one_score_each(predicted, len(self._gold), self._describe)
        found, _ = binary_figures(scores, self._positive)
        best_f1 = (found.f1, found.f1_threshold, found.precision, found.recall)
        return [found.accuracy, found.accuracy_threshold, *best_f1, found.average_precision]

    def _returned(self, figures: Sequence[Any]) -> Any:
        return figures[-1]


class CECorrelationEvaluator(PairEvaluator):
    """Pearson's and Spearman's correlation of the scores with gold scores. Returns Spearman's."""

    csv_headers = ("epoch", "steps", "Pearson_Correlation", "Spearman_Correlation")

    def __init__(self, sentence_pairs: Pairs, scores: Sequence[float], name: str = "", write_csv: bool = True) -> None:
        super().__init__(sentence_pairs, scores, name, write_csv)
        self.scores = scores

    def _figures(self, model: Predictor) -> Sequence[Any]:
        scores = one_score_each(self._predict(model), len(self._gold), self._describe)
        if len(scores) < 2:
            raise InputError("one pair has no correlation", "give two pairs or more")
        return [pearson(self._gold, scores), spearman(self._gold, scores)]

    def _returned(self, figures: Sequence[Any]) -> Any:
        return figures[-1]


class CEF1Evaluator(PairEvaluator):
    """F1 of a model with two labels or more: binary for two gold labels, else macro, micro and weighted.

    Returns the binary or the macro F1.

    Raises:
        InputError: there is one gold label alone.
    """

    def __init__(
        self,
        sentence_pairs: Pairs,
        labels: Sequence[int],
        *,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        name: str = "",
        write_csv: bool = True,
    ) -> None:
        super().__init__(sentence_pairs, labels, name, write_csv)
        self.labels = labels
        self.batch_size = batch_size
        self.show_progress_bar = show_progress_bar
        self._averages = f1_averages(self._gold)
        self.csv_headers = ("epoch", "steps", *(f"{average.capitalize()} F1 score" for average in self._averages))

    def _figures(self, model: Predictor) -> Sequence[Any]:
        scores = self._predict(model, batch_size=self.batch_size, show_progress_bar=self.show_progress_bar)
        confusion = Confusion.of(self._gold, predicted_classes(scores, len(self._gold), self._describe))
        return f1_figures(confusion, self._averages)


class CESoftmaxAccuracyEvaluator(PairEvaluator):
    """Accuracy of a model with two labels or more, whose highest score is its choice. Returns the accuracy."""

    csv_headers = ("epoch", "steps", "Accuracy")

    def __init__(self, sentence_pairs: Pairs, labels: Sequence[int], name: str = "", write_csv: bool = True) -> None:
        super().__init__(sentence_pairs, labels, name, write_csv)
        self.labels = labels

    def _figures(self, model: Predictor) -> Sequence[Any]:
        predicted = predicted_classes(self._predict(model), len(self._gold), self._describe)
        return [np.sum(predicted == self._gold) / len(self._gold)]


class CERerankingEvaluator(SampleEvaluator):
    """MRR and nDCG of queries with relevant and irrelevant documents. Returns the MRR.

    Samples without relevant or without irrelevant documents are left out of the means.

    Args:
        samples: `{"query": str, "positive": [str], "negative": [str]}`, in a list or as the values of a dict.
        at_k: ranks that both figures look at.
        mrr_at_k: the older name of `at_k`; it wins.
    """

    def __init__(
        self,
        samples: Sequence[Mapping[str, Any]] | Mapping[Any, Mapping[str, Any]],
        at_k: int = 10,
        name: str = "",
        write_csv: bool = True,
        mrr_at_k: int | None = None,
    ) -> None:
        super().__init__(samples, at_k, mrr_at_k, name, write_csv)
        self.csv_headers = ("epoch", "steps", f"MRR@{self.at_k}", f"NDCG@{self.at_k}")

    def _figures(self, model: Predictor) -> Sequence[Any]:
        judged = JudgedDocuments()
        for number, sample in enumerate(self.samples):
            check_keys(sample, number, "query", "positive", "negative")
            positive, negative = as_texts(sample["positive"]), as_texts(sample["negative"])
            if positive and negative:
                judged.add(sample["query"], positive + negative, [True] * len(positive) + [False] * len(negative))
        if not judged.counts:
            raise InputError(
                f"none of {len(self.samples)} samples has both a relevant and an irrelevant document",
                "give `positive` and `negative` documents",
            )
        figures = judged.figures(model, self.at_k, show_progress_bar=False)
        return [mean(figures.mrr), mean(figures.ndcg)]
