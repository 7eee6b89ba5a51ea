"""How a retrieval evaluation's figures are spread over the queries, for the page of its report."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from st_ray.core.chart import Columns, column_chart
from st_ray.core.figure import unit_bins
from st_ray.core.page import Section
from st_ray.evaluation.qrels import Qrels
from st_ray.evaluation.retrieval import RetrievalScores

_BINS = 20
_LABELS = ((0.0, "0"), (0.5, "0.5"), (1.0, "1"))


def metric_sections(scores: RetrievalScores, qrels: Qrels) -> Iterator[Section]:
    """A histogram for each metric over all queries with a relevant document; those without hits are at 0."""
    means = scores.means(qrels)
    for name, values in zip(scores.names, scores.values.T, strict=True):
        counts = np.bincount(unit_bins(np.clip(values, 0, 1), _BINS), minlength=_BINS)
        counts[0] += qrels.judged - len(values)
        text = f"{means[name]:.4f} on average. How many of the {qrels.judged:,} queries have which figure."
        yield Section(name, text, picture=column_chart([Columns(counts, _LABELS)]))
