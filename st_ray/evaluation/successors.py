"""The cross-encoder evaluators of the latest sentence-transformers: dictionaries of figures, thresholds between scores.

Like there, a model's `num_labels` decides what the classification evaluator computes, names prefix the figures, and a
sample without a relevant document counts as 0. A sample of one document has nDCG 1, where scikit-learn refuses it, and
a search that found no documents is as good as any, where the peer fails.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from st_ray.core.errors import InputError
from st_ray.evaluation.confusion import Confusion
from st_ray.evaluation.correlation import pearson, spearman
from st_ray.evaluation.documents import JudgedDocuments, SampleEvaluator, as_texts, check_keys
from st_ray.evaluation.evaluator import Evaluator, PairEvaluator, Pairs, Predictor
from st_ray.evaluation.exact import mean
from st_ray.evaluation.reranking import SampleFigures, sample_figures
from st_ray.evaluation.scores import check_binary, one_score_each, predicted_classes
from st_ray.evaluation.thresholds import binary_figures

logger = logging.getLogger(__name__)

_BINARY = {
    "accuracy": "Accuracy",
    "accuracy_threshold": "Accuracy_Threshold",
    "f1": "F1",
    "f1_threshold": "F1_Threshold",
    "precision": "Precision",
    "recall": "Recall",
    "average_precision": "Average_Precision",
}
_MULTICLASS = {"f1_macro": "Macro_F1", "f1_micro": "Micro_F1", "f1_weighted": "Weighted_F1"}


class _Named(Evaluator):
    """Evaluators that return figures by name.

    Attributes:
        primary_metric: the name of the figure to compare models by.
    """

    primary_metric: str
    _names: Sequence[str]

    def _returned(self, figures: Sequence[Any]) -> dict[str, float]:
        return self._prefixed(dict(zip(self._names, figures, strict=True)))

    def _prefixed(self, figures: Mapping[str, Any]) -> dict[str, float]:
        if self.name and not self.primary_metric.startswith(f"{self.name}_"):
            self.primary_metric = f"{self.name}_{self.primary_metric}"
        prefix = f"{self.name}_" if self.name else ""
        return {prefix + name: float(figure) for name, figure in figures.items()}


class _Prompted(_Named, PairEvaluator):
    """Evaluators of pairs that hand a prompt, batches and progress on to the model."""

    def __init__(
        self,
        sentence_pairs: Pairs,
        gold: Sequence[Any],
        name: str,
        prompt_name: str | None,
        batch_size: int,
        show_progress_bar: bool | None,
        write_csv: bool,
    ) -> None:
        super().__init__(sentence_pairs, gold, name, write_csv)
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.show_progress_bar = _shown(show_progress_bar)

    def _scores(self, model: Predictor) -> np.ndarray:
        options = {"prompt_name": self.prompt_name, "batch_size": self.batch_size}
        return self._predict(model, show_progress_bar=self.show_progress_bar, **options)


class CrossEncoderClassificationEvaluator(_Prompted):
    """Accuracy, F1, precision, recall and average precision of a model with one label; F1 of one with more."""

    def __init__(
        self,
        sentence_pairs: Pairs,
        labels: Sequence[int],
        *,
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        write_csv: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(sentence_pairs, labels, name, prompt_name, batch_size, show_progress_bar, write_csv)
        self.labels = self._gold

    def _figures(self, model: Any) -> Sequence[Any]:
        scores = self._scores(model)
        columns = _BINARY if model.num_labels == 1 else _MULTICLASS
        self._names, self.csv_headers = tuple(columns), ("epoch", "steps", *columns.values())
        if model.num_labels == 1:
            self.primary_metric = "average_precision"
            checked = one_score_each(scores, len(self._gold), self._describe)
            _, found = binary_figures(checked, check_binary(self._gold))
            return [getattr(found, name) for name in columns]
        self.primary_metric = "f1_macro"
        confusion = Confusion.of(self._gold, predicted_classes(scores, len(self._gold), self._describe))
        return [confusion.f1("macro"), confusion.f1("micro"), confusion.f1("weighted")]


class CrossEncoderCorrelationEvaluator(_Prompted):
    """Pearson's and Spearman's correlation of the scores with gold scores."""

    csv_headers = ("epoch", "steps", "Pearson_Correlation", "Spearman_Correlation")
    _names = ("pearson", "spearman")

    def __init__(
        self,
        sentence_pairs: Pairs,
        scores: Sequence[float],
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        write_csv: bool = True,
    ) -> None:
        super().__init__(sentence_pairs, scores, name, prompt_name, batch_size, show_progress_bar, write_csv)
        self.scores = scores
        self.primary_metric = "spearman"

    def _figures(self, model: Predictor) -> Sequence[Any]:
        scores = one_score_each(self._scores(model), len(self._gold), self._describe)
        if len(scores) < 2:
            raise InputError("one pair has no correlation", "give two pairs or more")
        return [pearson(self._gold, scores), spearman(self._gold, scores)]


class CrossEncoderRerankingEvaluator(_Named, SampleEvaluator):
    """MAP, MRR and nDCG of queries with judged documents, before (`base_`) and after reranking where they came ranked.

    Args:
        samples: `{"query": str, "positive": [str]}` with either `"negative": [str]` or `"documents": [str]`, all
            documents as a search ranked them.
        at_k: ranks that MRR and nDCG look at.
        always_rerank_positives: whether relevant documents are scored that are not among `documents`.
        mrr_at_k: the older name of `at_k`; it wins.
    """

    def __init__(
        self,
        samples: Sequence[Mapping[str, Any]] | Mapping[Any, Mapping[str, Any]],
        at_k: int = 10,
        always_rerank_positives: bool = True,
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 64,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        mrr_at_k: int | None = None,
    ) -> None:
        super().__init__(samples, at_k, mrr_at_k, name, write_csv)
        self.always_rerank_positives = always_rerank_positives
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.show_progress_bar = show_progress_bar
        self.csv_headers = ("epoch", "steps", "MAP", f"MRR@{self.at_k}", f"NDCG@{self.at_k}")
        self.primary_metric = f"ndcg@{self.at_k}"
        self._names = ("map", f"mrr@{self.at_k}", f"ndcg@{self.at_k}")
        self._base: list[float] = []

    def _figures(self, model: Predictor) -> Sequence[Any]:
        if not len(self.samples):
            raise InputError("there are no samples", "give at least one")
        judged, ranked = JudgedDocuments(), []
        for number, sample in enumerate(self.samples):
            _check_sample(sample, number)
            positive = as_texts(sample["positive"])
            if "documents" in sample:
                documents = list(sample["documents"])
                ranked.append(_as_ranked(positive, documents))
                if self.always_rerank_positives:
                    documents = positive + [document for document in documents if document not in positive]
                    relevant = [row < len(positive) for row in range(len(documents))]
                else:
                    relevant = [document in positive for document in documents]
            else:
                documents = positive + list(sample["negative"])
                relevant = [row < len(positive) for row in range(len(documents))]
            judged.add(sample["query"], documents, relevant) if any(relevant) else judged.add(sample["query"], [], [])
        options = {"prompt_name": self.prompt_name, "batch_size": self.batch_size}
        found = judged.figures(model, self.at_k, show_progress_bar=self.show_progress_bar, **options)
        self._base = _means(_base_figures(ranked, self.at_k)) if ranked else []
        return _means(found)

    def _returned(self, figures: Sequence[Any]) -> dict[str, float]:
        base = {f"base_{name}": figure for name, figure in zip(self._names, self._base, strict=False)}
        return self._prefixed(dict(zip(self._names, figures, strict=True)) | base)


def _check_sample(sample: Mapping[str, Any], number: int) -> None:
    check_keys(sample, number, "query", "positive")
    if ("negative" in sample) == ("documents" in sample):
        raise InputError(f"sample {number} has not one of the keys 'negative' and 'documents'", "give one of them")


def _as_ranked(positive: Sequence[str], documents: Sequence[str]) -> list[bool]:
    """Which ranked documents are relevant; those that were not found stand behind them, if any was."""
    relevant = [document in positive for document in documents]
    return relevant + [True] * (len(positive) - sum(relevant)) if any(relevant) else []


def _base_figures(ranked: Sequence[Sequence[bool]], at_k: int) -> SampleFigures:
    counts = np.array([len(relevant) for relevant in ranked], np.int64)
    falling = np.concatenate([np.zeros(0), *(np.arange(count, 0, -1.0) for count in counts)])
    return sample_figures(falling, np.array([one for relevant in ranked for one in relevant], bool), counts, at_k)


def _means(figures: SampleFigures) -> list[float]:
    return [mean(part) for part in (figures.average_precision, figures.pessimistic_mrr, figures.ndcg)]


def _shown(show_progress_bar: bool | None) -> bool:
    if show_progress_bar is not None:
        return show_progress_bar
    return logger.getEffectiveLevel() in (logging.INFO, logging.DEBUG)
