"""Ranking metrics of many samples at once: scikit-learn's, one sample at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from st_ray.evaluation.reranking import sample_figures

Samples = list[list[tuple[float, bool]]]
DOCUMENT = st.tuples(st.sampled_from([0.0, 0.5, 1.0]) | st.floats(-3, 3, width=32), st.booleans())
SAMPLES = st.lists(st.lists(DOCUMENT, max_size=12), min_size=1, max_size=8)


def flat(samples: Samples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores = np.array([score for sample in samples for score, _ in sample], np.float32)
    relevant = np.array([label for sample in samples for _, label in sample], bool)
    return scores, relevant, np.array([len(sample) for sample in samples])


@given(SAMPLES, st.integers(1, 14))
def test_each_sample_by_itself(samples: Samples, at_k: int) -> None:
    found = sample_figures(*flat(samples), at_k)
    for row, sample in enumerate(samples):
        labels = [int(label) for _, label in sample]
        scores = [score for score, _ in sample]
        ranked = sorted(range(len(sample)), key=lambda n: (-scores[n], n))
        pessimist = sorted(range(len(sample)), key=lambda n: (-scores[n], -n))
        for order, value in ((ranked, found.mrr), (pessimist, found.pessimistic_mrr)):
            ranks = [rank for rank, document in enumerate(order[:at_k], 1) if labels[document]]
            assert value[row] == (1 / ranks[0] if ranks else 0)
        if not sum(labels):
            assert (found.ndcg[row], found.average_precision[row]) == (0, 0)
            continue
        assert found.average_precision[row] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
        if len(labels) > 1:
            assert found.ndcg[row] == pytest.approx(ndcg_score([labels], [scores], k=at_k), abs=1e-12)
        else:
            assert found.ndcg[row] == 1


@given(SAMPLES, SAMPLES)
def test_a_sample_depends_on_itself_alone(one: Samples, other: Samples) -> None:
    together = sample_figures(*flat(one + other), 5)
    for name in ("mrr", "pessimistic_mrr", "ndcg", "average_precision"):
        parts = [getattr(sample_figures(*flat(samples), 5), name) for samples in (one, other)]
        np.testing.assert_array_equal(getattr(together, name), np.concatenate(parts))
