"""What a model under training is measured by: figures as other libraries compute them, and what suits which loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, f1_score

from st_ray.core.errors import ConfigError
from st_ray.evaluation.successors import CrossEncoderRerankingEvaluator
from st_ray.runtime.training.evaluators import Measured, evaluator_for
from tests.parity.evaluator_runs import KnownScores

RNG = np.random.default_rng(5)


def measured(scores: np.ndarray, labels: np.ndarray, keys: Sequence[int] = ()) -> Measured:
    return Measured(scores, labels, np.array(keys, np.int64))


def test_correlations_are_of_what_the_finished_model_gives() -> None:
    logits, labels = RNG.normal(size=200).astype(np.float32), RNG.random((200, 1), np.float32)
    found = evaluator_for("auto", "bce", binary=False).figures(measured(logits, labels))
    scores = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert found["pearson"] == pytest.approx(pearsonr(scores, labels[:, 0]).statistic, abs=1e-6)
    assert found["spearman"] == pytest.approx(spearmanr(scores, labels[:, 0]).statistic, abs=1e-6)
    plain = evaluator_for("auto", "mse", binary=False).figures(measured(logits, labels))
    assert plain["pearson"] == pytest.approx(pearsonr(logits, labels[:, 0]).statistic, abs=1e-6)


def test_binary_labels_are_measured_by_average_precision() -> None:
    logits = RNG.normal(size=300).astype(np.float32)
    labels = (RNG.random((300, 1)) < 1 / (1 + np.exp(-logits[:, None]))).astype(np.float32)
    evaluator = evaluator_for("auto", "bce", binary=True)
    found = evaluator.figures(measured(logits, labels))
    assert evaluator.primary == "average_precision"
    assert found["average_precision"] == pytest.approx(average_precision_score(labels[:, 0], logits), abs=1e-6)
    assert found["accuracy"] >= np.mean((logits > 0) == labels[:, 0])


def test_classes() -> None:
    scores, labels = RNG.normal(size=(120, 3)).astype(np.float32), RNG.integers(3, size=(120, 1)).astype(np.float32)
    predicted = scores.argmax(axis=1)
    assert evaluator_for("auto", "ce", binary=False).figures(measured(scores, labels)) == {
        "accuracy": pytest.approx(np.mean(predicted == labels[:, 0]))
    }
    evaluator = evaluator_for("f1", "ce", binary=False)
    expected = f1_score(labels[:, 0], predicted, average="macro")
    assert evaluator.figures(measured(scores, labels))[evaluator.primary] == pytest.approx(expected)


def test_margins() -> None:
    scores, labels = (RNG.normal(size=(80, 3)).astype(np.float32) for _ in range(2))
    found = evaluator_for("auto", "margin-mse", binary=False).figures(measured(scores, labels))
    one, other = ((values[:, :1] - values[:, 1:]).ravel() for values in (scores, labels))
    assert found["spearman"] == pytest.approx(spearmanr(one, other).statistic, abs=1e-6)
    assert found["same_order"] == pytest.approx(np.mean((one > 0) == (other > 0)))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(-3, 2), st.booleans(), st.integers(-3, 3)), min_size=1, max_size=60),
    st.integers(0, 1000),
)
def test_reranking_is_that_of_samples(rows: list[tuple[int, bool, int]], seed: int) -> None:
    """In whatever order the documents stand, to the bit; queries of one kind of documents are left out."""
    samples: dict[int, Any] = {}
    for document, (query, relevant, _) in enumerate(rows):
        sample = samples.setdefault(query, {"query": str(query), "positive": [], "negative": []})
        sample["positive" if relevant else "negative"].append(str(document))
    pairs = [(str(query), str(document)) for document, (query, _, _) in enumerate(rows)]
    model = KnownScores(pairs, np.float32([logit for _, _, logit in rows]))
    kept = [sample for sample in samples.values() if sample["positive"] and sample["negative"]]
    expected = CrossEncoderRerankingEvaluator(kept)(model) if kept else {}
    shuffled = [rows[place] for place in np.random.default_rng(seed).permutation(len(rows))]
    for keys, labels, logits in (zip(*rows, strict=True), zip(*shuffled, strict=True)):
        for loss in ("bce", "mse"):
            found = measured(np.float32(logits), np.float32(labels)[:, None], keys)
            assert evaluator_for("reranking", loss, binary=True).figures(found) == expected


@pytest.mark.parametrize(
    ("loss", "binary", "ranked", "name", "primary"),
    [
        ("bce", True, True, "reranking", "ndcg@10"),
        ("bce", True, False, "binary-classification", "average_precision"),
        ("bce", False, True, "correlation", "spearman"),
        ("mse", True, True, "correlation", "spearman"),
        ("margin-mse", True, True, "margin", "spearman"),
        ("ce", True, True, "softmax-accuracy", "accuracy"),
    ],
)
def test_what_suits(loss: str, binary: bool, ranked: bool, name: str, primary: str) -> None:
    found = evaluator_for("auto", loss, binary, ranked)
    assert (found.name, found.primary) == (name, primary)


def test_logits_that_tell_two_labels_apart() -> None:
    logits, labels = np.float32([30, 20, -20, 40]), np.float32([[1], [1], [0], [0]])
    found = evaluator_for("binary-classification", "mse", binary=True).figures(measured(logits, labels))
    assert found["average_precision"] == pytest.approx(average_precision_score(labels[:, 0], logits))


def test_what_is_not_defined_is_left_out() -> None:
    constant = measured(np.ones(4, np.float32), np.ones((4, 1)), range(4))
    assert evaluator_for("correlation", "cosine", binary=False).figures(constant) == {}
    ranking = evaluator_for("reranking", "bce", binary=True)
    assert ranking.figures(constant) == {}  # no query with a relevant and another document
    labels = np.float32([[1], [0], [1], [0]])
    assert ranking.figures(measured(np.float32([0, 1, 2, np.nan]), labels, [7] * 4)) == {}


@pytest.mark.parametrize(
    ("name", "loss", "binary", "message"),
    [
        ("f1", "bce", True, "--evaluator f1 cannot measure what --loss bce trains"),
        ("correlation", "ce", False, "use one of softmax-accuracy, f1"),
        ("binary-classification", "bce", False, "needs labels 0 and 1"),
        ("reranking", "bce", False, "--evaluator reranking needs labels 0 and 1, and --eval-data has others"),
        ("reranking", "mse", False, "use --evaluator correlation"),
        ("reranking", "margin-mse", True, "--evaluator reranking cannot measure what --loss margin-mse trains"),
    ],
)
def test_evaluators_that_do_not_fit(name: str, loss: str, binary: bool, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        evaluator_for(name, loss, binary)
    assert message in str(error.value)
