"""The cross-encoder evaluators of sentence-transformers 3.4.1: the same arguments, return values and CSV files.

The successors of these classes, with the thresholds of later releases, are in `st_ray.evaluation.successors`. Three
things differ. Weighted F1 weighs classes by their gold labels, not by predicted ones. Documents of equal scores are
ranked in the order they are given, the positives first, where 3.4.1 leaves it to an unstable sort. And what cannot be
evaluated (a score that is not a number, a model with the wrong number of labels) is an InputError that says so.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from st_ray.core.errors import ConfigError, InputError
from st_ray.evaluation.confusion import Confusion, f1_averages, f1_figures
from st_ray.evaluation.correlation import pearson, spearman
from st_ray.evaluation.csv_log import append_row
from st_ray.evaluation.exact import mean
from st_ray.evaluation.reranking import SampleFigures, sample_figures
from st_ray.evaluation.scores import check_binary, check_lengths, one_score_each, predicted_classes
from st_ray.evaluation.thresholds import binary_figures

logger = logging.getLogger(__name__)

Pairs = Sequence[Sequence[str]]
_Own = TypeVar("_Own", bound="PairEvaluator")


class Predictor(Protocol):
    """A cross-encoder: this project's, Sentence Transformers', or anything with such a method."""

    def predict(self, sentences: Any, **options: Any) -> Any:
        """Scores of pairs of texts, `[n]` or `[n, labels]`."""


class InputExample(Protocol):
    """Sentence Transformers' container of a pair and its label."""

    texts: Sequence[str]
    label: Any


class Evaluator(ABC):
    """What all evaluators share: a name, a CSV file, and the call.

    Attributes:
        csv_file: its name.
        csv_headers: its columns.
    """

    csv_file: str
    csv_headers: Sequence[str]

    def __init__(self, name: str, write_csv: bool) -> None:
        self.name = name
        self.write_csv = write_csv
        self.csv_file = type(self).__name__ + (f"_{name}" if name else "") + "_results.csv"

    def __call__(self, model: Predictor, output_path: str | None = None, epoch: int = -1, steps: int = -1) -> Any:
        """Evaluate `model`.

        Args:
            output_path: folder of the CSV file; None: none is written.
            epoch, steps: of a training, for the CSV file and the log.

        Returns:
            The class's figure.

        Raises:
            InputError: the scores are not what this evaluator can judge.
        """
        when = (
            "" if epoch == -1 else f" after epoch {epoch}" if steps == -1 else f" in epoch {epoch} after {steps} steps"
        )
        logger.info("%s: Evaluating the model on %s dataset%s:", type(self).__name__, self.name, when)
        figures = self._figures(model)
        for column, figure in zip(self.csv_headers[2:], figures, strict=True):
            logger.info("%-20s %.6f", f"{column}:", figure)
        if output_path is not None and self.write_csv:
            append_row(output_path, self.csv_file, self.csv_headers, [epoch, steps, *figures])
        return self._returned(figures)

    @abstractmethod
    def _figures(self, model: Predictor) -> Sequence[Any]:
        """The figures, in the order of the CSV file's columns."""

    def _returned(self, figures: Sequence[Any]) -> Any:
        return figures[0]


class PairEvaluator(Evaluator):
    """Evaluators of pairs of texts with a label each."""

    def __init__(self, sentence_pairs: Pairs, labels: Sequence[Any] | np.ndarray, name: str, write_csv: bool) -> None:
        super().__init__(name, write_csv)
        check_lengths(sentence_pairs, labels)
        self.sentence_pairs = sentence_pairs
        self._gold = np.asarray(labels)

    @classmethod
    def from_input_examples(cls: type[_Own], examples: Sequence[InputExample], **kwargs: Any) -> _Own:
        """From Sentence Transformers' InputExample, or anything with `texts` and `label`."""
        return cls([example.texts for example in examples], [example.label for example in examples], **kwargs)

    def _describe(self, number: int) -> str:
        return f"pair {number} ({', '.join(map(repr, self.sentence_pairs[number]))})"

    def _predict(self, model: Predictor, **options: Any) -> Any:
        options = {"convert_to_numpy": True, "show_progress_bar": False, **options}
        return model.predict(self.sentence_pairs, **options)


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


class JudgedDocuments:
    """Queries with documents that are known to be relevant or not, one behind another.

    Attributes:
        pairs: of a query and a document.
        relevant: whether each document is.
        counts: documents of each query.
    """

    def __init__(self) -> None:
        self.pairs: list[list[str]] = []
        self.relevant: list[bool] = []
        self.counts: list[int] = []

    def add(self, query: str, documents: Sequence[str], relevant: Sequence[bool]) -> None:
        """One query's."""
        self.pairs += [[query, document] for document in documents]
        self.relevant += relevant
        self.counts.append(len(documents))

    def figures(self, model: Predictor, at_k: int, **options: Any) -> SampleFigures:
        """Score all pairs in one call, and rank each query's documents."""
        scores = model.predict(self.pairs, convert_to_numpy=True, **options) if self.pairs else np.zeros(0)
        checked = one_score_each(scores, len(self.pairs), lambda number: f"pair {number} ({self.pairs[number]})")
        return sample_figures(checked, np.array(self.relevant, bool), np.array(self.counts, np.int64), at_k)


def check_at_k(at_k: int) -> int:
    """`at_k` itself. Raises ConfigError below 1."""
    if at_k < 1:
        raise ConfigError(f"at_k is {at_k}, and ranks count from 1", "give 1 or more")
    return at_k


def check_keys(sample: Mapping[str, Any], number: int, *keys: str) -> None:
    """Raise InputError where a sample lacks one of the keys."""
    missing = [key for key in keys if key not in sample]
    if missing:
        raise InputError(f"sample {number} has no key {missing[0]!r}", f"give {', '.join(keys)}")


def as_texts(value: str | Sequence[str]) -> list[str]:
    """Documents of a sample: one alone may be given as it is."""
    return [value] if isinstance(value, str) else list(value)


class CERerankingEvaluator(Evaluator):
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
        super().__init__(name, write_csv)
        if mrr_at_k is not None:
            logger.warning("`mrr_at_k` is the older name of `at_k`: use `at_k=%d`", mrr_at_k)
        self.at_k = check_at_k(at_k if mrr_at_k is None else mrr_at_k)
        self.samples = list(samples.values()) if isinstance(samples, Mapping) else samples
        self.csv_file = self.csv_file.replace("_results.csv", f"_results_@{self.at_k}.csv")
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
