"""What models are measured by while they are trained is what the peer's evaluators find."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sentence_transformers.cross_encoder.evaluation import CERerankingEvaluator

from st_ray.models.activation import sigmoid
from st_ray.runtime.training.evaluators import Measured, evaluator_for
from tests.parity.evaluator_runs import KnownScores


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_reranking(loss: str) -> None:
    """Documents of all queries among each other; the peer has them query by query. No scores are equal."""
    rng = np.random.default_rng(3)
    query = rng.integers(40, size=900)
    logits = rng.permutation(np.linspace(-4, 4, 900)).astype(np.float32)
    relevant = rng.random(900) < 1 / (3 + np.exp(-logits))
    samples = []
    for number in range(40):
        here = query == number
        kinds = {"positive": here & relevant, "negative": here & ~relevant}
        assert all(kind.any() for kind in kinds.values())
        samples.append(
            {"query": f"q{number}"} | {k: [f"d{row}" for row in np.flatnonzero(v)] for k, v in kinds.items()}
        )
    scores = sigmoid(logits) if loss == "bce" else logits
    assert len(np.unique(scores)) == 900
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the class has been renamed
        peer = CERerankingEvaluator(samples)
    expected = peer(KnownScores([(f"q{q}", f"d{row}") for row, q in enumerate(query)], scores))

    evaluator = evaluator_for("reranking", loss, binary=True)
    found = evaluator.figures(Measured(logits, relevant[:, None].astype(np.float32), query))
    assert found == {name: pytest.approx(value, abs=1e-12) for name, value in expected.items()}
    assert evaluator.primary == peer.primary_metric
