"""Queries with documents of known relevance, as evaluators of rankings take them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from st_ray.core.errors import ConfigError, InputError
from st_ray.evaluation.evaluator import Evaluator, Predictor
from st_ray.evaluation.reranking import SampleFigures, sample_figures
from st_ray.evaluation.scores import one_score_each

logger = logging.getLogger(__name__)


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


class SampleEvaluator(Evaluator):
    """What evaluators of rankings share.

    Args:
        samples: in a list, or as the values of a dict.
        at_k: ranks that are looked at.
        mrr_at_k: the older name of `at_k`; it wins.
    """

    def __init__(
        self,
        samples: Sequence[Mapping[str, Any]] | Mapping[Any, Mapping[str, Any]],
        at_k: int,
        mrr_at_k: int | None,
        name: str,
        write_csv: bool,
    ) -> None:
        super().__init__(name, write_csv)
        if mrr_at_k is not None:
            logger.warning("`mrr_at_k` is the older name of `at_k`: use `at_k=%d`", mrr_at_k)
        self.at_k = _check_at_k(at_k if mrr_at_k is None else mrr_at_k)
        self.samples = list(samples.values()) if isinstance(samples, Mapping) else samples
        self.csv_file = self.csv_file.replace("_results.csv", f"_results_@{self.at_k}.csv")


def _check_at_k(at_k: int) -> int:
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
