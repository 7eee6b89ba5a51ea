"""The judge of reranking: means over queries of how their documents are ranked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from st_ray.core.errors import InputError
from st_ray.evaluation.exact import exact_mean, exact_sum, mean
from st_ray.evaluation.judge import LATEST, Figures, Judge, MetricState, Replicates, Scored
from st_ray.evaluation.replicates import mean_replicates
from st_ray.evaluation.reranking import sample_figures
from st_ray.evaluation.sample import CAPACITY, Sample
from st_ray.evaluation.scores import check_binary


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
