"""What an evaluator makes of scored pairs that come in parts: states that merge, figures, replicates of these.

Where counts and sums do not suffice (average precision, best thresholds, Spearman's correlation), the pairs are also
put in order, range by range of their scores: `Judge.order` says so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, ClassVar, Literal

import numpy as np

from st_ray.evaluation.sample import CAPACITY, Sample

Figures = dict[str, float]
Replicates = Callable[[np.random.Generator], Figures]
LATEST = "latest_"
"""Prefix of figures in the terms of the latest release of Sentence Transformers, beside those of 3.4.1."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Scored pairs of consecutive rows.

    Attributes:
        rows: `[n]` int64: the number of each pair; or, rising, of the sample that a query and its documents are.
        labels: `[n]`: classes, gold scores, or 1 for relevant documents and 0 for others.
        scores: `[n]` or `[n, c]` float32, finite.
    """

    rows: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class MetricState:
    """What an evaluator keeps of some pairs; merged in any order, states of parts make that of the whole.

    Attributes:
        pairs: how many.
        sums: what adds up, exactly.
        sample: of what replicates are drawn from: pairs, or samples of documents.
    """

    pairs: int
    sums: Any
    sample: Sample

    @classmethod
    def merged(cls, states: Sequence[MetricState]) -> MetricState:
        """The state of all their pairs; at least one state."""
        sample = Sample.merged([state.sample for state in states])
        return cls(sum(state.pairs for state in states), reduce(add, (state.sums for state in states)), sample)


@dataclass(frozen=True)
class Judge(ABC):
    """One evaluator's metrics, and what it needs for them.

    Attributes:
        class_name: the class of `st_ray.evaluation.evaluators` that does the same in memory.
        csv: the columns of its CSV file, and the figure that stands in each.
        primary: the figure that the class returns.
        order: what the pairs are to be put in order by.
        labels: what they must be.
        several_scores: whether a pair has a score for each class.
    """

    class_name: ClassVar[str]
    csv: ClassVar[Mapping[str, str]]
    primary: ClassVar[str]
    order: ClassVar[Literal["nothing", "scores", "scores and labels"]] = "nothing"
    labels: ClassVar[Literal["binary", "class", "number"]] = "class"
    several_scores: ClassVar[bool] = False

    @abstractmethod
    def state(self, pairs: Scored, seed: int, capacity: int = CAPACITY) -> MetricState:
        """Of some of the pairs."""

    @abstractmethod
    def figures(self, state: MetricState, ordered: Any) -> Figures:
        """All figures; `ordered` is OrderedScores or the CorrelationSums of ranks, where `order` is not nothing.

        Raises:
            InputError: they are not defined for these pairs.
        """

    @abstractmethod
    def replicates(self, sample: Sample, sums: Any) -> Replicates:
        """Figures of pairs drawn with replacement from the sample, as many as it holds, or from what the sums count."""

    def counted(self, state: MetricState) -> dict[str, int]:
        """What the figures were taken over, besides pairs."""
        return {}

    def sample_figures(self, sample: Sample) -> Figures | None:
        """The figures of the sample alone; None where replicates are drawn from all pairs in any case."""
        return None

    def columns(self, figures: Figures) -> dict[str, float]:
        """The row of the CSV file."""
        return {column: figures[name] for column, name in self.csv.items() if name in figures}
