"""What a model under training is measured by: figures as other libraries compute them, and what suits which loss."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, f1_score

from st_ray.core.errors import ConfigError
from st_ray.runtime.training.evaluators import evaluator_for

RNG = np.random.default_rng(5)


def test_correlations_are_of_what_the_finished_model_gives() -> None:
    logits, labels = RNG.normal(size=200).astype(np.float32), RNG.random((200, 1), np.float32)
    found = evaluator_for("auto", "bce", binary=False).figures(logits, labels)
    scores = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert found["pearson"] == pytest.approx(pearsonr(scores, labels[:, 0]).statistic, abs=1e-6)
    assert found["spearman"] == pytest.approx(spearmanr(scores, labels[:, 0]).statistic, abs=1e-6)
    plain = evaluator_for("auto", "mse", binary=False).figures(logits, labels)
    assert plain["pearson"] == pytest.approx(pearsonr(logits, labels[:, 0]).statistic, abs=1e-6)


def test_binary_labels_are_measured_by_average_precision() -> None:
    logits = RNG.normal(size=300).astype(np.float32)
    labels = (RNG.random((300, 1)) < 1 / (1 + np.exp(-logits[:, None]))).astype(np.float32)
    evaluator = evaluator_for("auto", "bce", binary=True)
    found = evaluator.figures(logits, labels)
    assert evaluator.primary == "average_precision"
    assert found["average_precision"] == pytest.approx(average_precision_score(labels[:, 0], logits), abs=1e-6)
    assert found["accuracy"] >= np.mean((logits > 0) == labels[:, 0])


def test_classes() -> None:
    scores, labels = RNG.normal(size=(120, 3)).astype(np.float32), RNG.integers(3, size=(120, 1)).astype(np.float32)
    predicted = scores.argmax(axis=1)
    assert evaluator_for("auto", "ce", binary=False).figures(scores, labels) == {
        "accuracy": pytest.approx(np.mean(predicted == labels[:, 0]))
    }
    evaluator = evaluator_for("f1", "ce", binary=False)
    expected = f1_score(labels[:, 0], predicted, average="macro")
    assert evaluator.figures(scores, labels)[evaluator.primary] == pytest.approx(expected)


def test_margins() -> None:
    scores, labels = (RNG.normal(size=(80, 3)).astype(np.float32) for _ in range(2))
    found = evaluator_for("auto", "margin-mse", binary=False).figures(scores, labels)
    one, other = ((values[:, :1] - values[:, 1:]).ravel() for values in (scores, labels))
    assert found["spearman"] == pytest.approx(spearmanr(one, other).statistic, abs=1e-6)
    assert found["same_order"] == pytest.approx(np.mean((one > 0) == (other > 0)))


def test_what_is_not_defined_is_left_out() -> None:
    found = evaluator_for("correlation", "cosine", binary=False).figures(np.ones(4, np.float32), np.ones((4, 1)))
    assert found == {}


@pytest.mark.parametrize(
    ("name", "loss", "binary", "message"),
    [
        ("f1", "bce", True, "--evaluator f1 cannot measure what --loss bce trains"),
        ("correlation", "ce", False, "use one of softmax-accuracy, f1"),
        ("binary-classification", "bce", False, "needs labels 0 and 1"),
    ],
)
def test_evaluators_that_do_not_fit(name: str, loss: str, binary: bool, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        evaluator_for(name, loss, binary)
    assert message in str(error.value)
