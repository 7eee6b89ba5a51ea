"""What each evaluator makes of scored pairs that come in parts: states that merge, figures, replicates of these.

Where counts and sums do not suffice (average precision, best thresholds, Spearman's correlation), the pairs are also
put in order, range by range of their scores: `Judge.order` says so; `OrderedScores` or the sums of ranks come of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import Any, ClassVar, Literal

import numpy as np

from st_ray.core.errors import InputError
from st_ray.evaluation.confusion import Confusion, f1_averages, f1_figures
from st_ray.evaluation.correlation import CorrelationSums, doubled_ranks
from st_ray.evaluation.exact import exact_mean, exact_sum, mean
from st_ray.evaluation.replicates import correlation_replicates, mean_replicates
from st_ray.evaluation.reranking import sample_figures
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
            rows = np.sort(rng.integers(size, size=size))
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


@dataclass(frozen=True)
class RerankingSums:
    """Exact sums over samples of documents.

    Attributes:
        both: samples with relevant and with other documents; `mrr` and `ndcg` are theirs alone.
        samples: all of them.
        without_positives: those that have no relevant document.
        latest: sums of average precision, pessimistic MRR and nDCG over all samples.
    """

    both: int
    mrr: int
    ndcg: int
    samples: int
    without_positives: int
    latest: tuple[int, int, int]

    def __add__(self, other: RerankingSums) -> RerankingSums:
        """Over both sets of samples."""
        one, two, three = (mine + theirs for mine, theirs in zip(self.latest, other.latest, strict=True))
        return RerankingSums(
            self.both + other.both,
            self.mrr + other.mrr,
            self.ndcg + other.ndcg,
            self.samples + other.samples,
            self.without_positives + other.without_positives,
            (one, two, three),
        )


@dataclass(frozen=True)
class Reranking(Judge):
    """MRR and nDCG of each sample's documents, ranked by their scores."""

    at_k: int = 10
    class_name = "CERerankingEvaluator"
    primary = "mrr"
    csv: ClassVar = {"MRR": "mrr", "NDCG": "ndcg"}
    labels = "binary"

    def state(self, pairs: Scored, seed: int, capacity: int = CAPACITY) -> MetricState:
        """See `Judge.state`."""
        rows, counts = np.unique(pairs.rows, return_counts=True)
        relevant = check_binary(pairs.labels)
        found = sample_figures(pairs.scores, relevant, counts, self.at_k)
        positives = np.bincount(np.repeat(np.arange(len(counts)), counts), relevant, len(counts))
        both = (positives > 0) & (positives < counts)
        values = {"mrr": found.mrr, "ndcg": found.ndcg, "both": both}
        values |= {"map": found.average_precision, "pessimistic_mrr": found.pessimistic_mrr}
        latest = tuple(exact_sum(values[name]) for name in ("map", "pessimistic_mrr", "ndcg"))
        sums = RerankingSums(
            both=int(both.sum()),
            mrr=exact_sum(found.mrr[both]),
            ndcg=exact_sum(found.ndcg[both]),
            samples=len(counts),
            without_positives=int(np.count_nonzero(positives == 0)),
            latest=(latest[0], latest[1], latest[2]),
        )
        return MetricState(len(pairs.rows), sums, Sample.of(rows, values, seed=seed, capacity=capacity))

    def counted(self, state: MetricState) -> dict[str, int]:
        """See `Judge.counted`."""
        sums: RerankingSums = state.sums
        without = sums.without_positives
        return {"queries": sums.samples, "without_positives": without, "left_out_of_mrr": sums.samples - sums.both}

    def figures(self, state: MetricState, ordered: Any) -> Figures:
        """See `Judge.figures`."""
        sums: RerankingSums = state.sums
        if not sums.both:
            raise InputError(
                f"none of {sums.samples} samples has both a relevant and an irrelevant document",
                "give positives and negatives",
            )
        average_precision, mrr, ndcg = (exact_mean(units, sums.samples) for units in sums.latest)
        return {
            "mrr": exact_mean(sums.mrr, sums.both),
            "ndcg": exact_mean(sums.ndcg, sums.both),
            LATEST + "map": average_precision,
            LATEST + "mrr": mrr,
            LATEST + "ndcg": ndcg,
        }

    def replicates(self, sample: Sample, sums: Any) -> Replicates:
        """See `Judge.replicates`."""
        return mean_replicates(*self._means(sample))

    def sample_figures(self, sample: Sample) -> Figures | None:
        """See `Judge.sample_figures`."""
        values, weights = self._means(sample)
        return {name: mean(column[weights[name]]) for name, column in values.items()}

    def columns(self, figures: Figures) -> dict[str, float]:
        """See `Judge.columns`."""
        return {f"{column}@{self.at_k}": figures[name] for column, name in self.csv.items()}

    def _means(self, sample: Sample) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Values of samples, and which samples they are taken of, by figure."""
        found, every = sample.columns, np.ones(len(sample.rows), bool)
        values = {"mrr": found["mrr"], "ndcg": found["ndcg"]}
        values |= {
            LATEST + "map": found["map"],
            LATEST + "mrr": found["pessimistic_mrr"],
            LATEST + "ndcg": found["ndcg"],
        }
        return values, {name: every if name.startswith(LATEST) else found["both"] for name in values}


def _floats(figures: Mapping[str, Any]) -> Figures:
    return {name: float(figure) for name, figure in figures.items()}
