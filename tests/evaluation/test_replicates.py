"""Bootstrap replicates: drawn figures are those of the drawn pairs, and intervals as wide as theory has it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from st_ray.evaluation.bootstrap import confidence_intervals
from st_ray.evaluation.class_judges import F1, BinaryAccuracy, SoftmaxAccuracy
from st_ray.evaluation.judge import Judge, Scored
from st_ray.evaluation.replicates import correlation_replicates, draws
from st_ray.evaluation.report import find_intervals
from st_ray.evaluation.reranking_judge import Reranking
from st_ray.evaluation.score_judges import BinaryClassification, Correlation, OrderedScores
from st_ray.evaluation.thresholds import ScoreRange


def test_drawn_correlations_are_those_of_the_repeated_pairs() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(6, size=300) / 5
    y = np.round(x + rng.standard_normal(300), 1)
    found = correlation_replicates(x, y)(np.random.default_rng(7))
    rows = np.repeat(np.arange(300), draws(np.random.default_rng(7), 300))
    assert found["pearson"] == pytest.approx(stats.pearsonr(x[rows], y[rows]).statistic, abs=1e-12)
    assert found["spearman"] == pytest.approx(stats.spearmanr(x[rows], y[rows]).statistic, abs=1e-12)


def normal_pairs(count: int) -> Scored:
    rng = np.random.default_rng(3)
    gold = rng.standard_normal(count)
    return Scored(np.arange(count), gold, (0.6 * gold + 0.8 * rng.standard_normal(count)).astype(np.float32))


def test_the_interval_of_a_correlation_is_that_of_theory() -> None:
    judge, pairs = Correlation(), normal_pairs(4_000)
    state = judge.state(pairs, seed=0)
    figures = judge.sample_figures(state.sample)
    assert figures is not None
    low, high = find_intervals(judge, state, figures, 600, 0).intervals["pearson"]
    spread = 1.96 * (1 - 0.6**2) / np.sqrt(4_000)
    assert high - low == pytest.approx(2 * spread, rel=0.15)
    assert low < figures["pearson"] < high


def test_a_sample_gives_the_width_of_all_pairs() -> None:
    judge, pairs = Correlation(), normal_pairs(8_000)
    whole = judge.state(pairs, seed=0)
    part = judge.state(pairs, seed=0, capacity=1_000)
    figures = judge.sample_figures(whole.sample)
    assert figures is not None and not part.sample.complete
    wide = find_intervals(judge, whole, figures, 400, 0).intervals
    scaled = find_intervals(judge, part, figures, 400, 0).intervals
    for name in ("pearson", "spearman"):
        width = wide[name][1] - wide[name][0]
        assert scaled[name][1] - scaled[name][0] == pytest.approx(width, rel=0.2)
        assert scaled[name][0] < figures[name] < scaled[name][1]


def ordered(judge: Judge, pairs: Scored) -> object:
    if judge.order == "scores":
        return OrderedScores.of(ScoreRange.of(pairs.scores, pairs.labels == 1))
    return None


@pytest.mark.parametrize(
    "judge",
    [BinaryAccuracy(0.4), BinaryClassification(), SoftmaxAccuracy(), F1(), Reranking(5)],
    ids=lambda j: type(j).__name__,
)
def test_every_figure_has_an_interval_that_the_seed_decides(judge: Judge) -> None:
    rng = np.random.default_rng(1)
    rows = np.repeat(np.arange(100), 6) if isinstance(judge, Reranking) else np.arange(600)
    labels = rng.integers(2, size=600)
    scores = (labels + rng.standard_normal(600)).astype(np.float32)
    if judge.several_scores:
        scores = np.stack([-scores, scores, np.full(600, -3, np.float32)], axis=1)
    pairs = Scored(rows, labels, scores)
    state = judge.state(pairs, seed=0)
    figures = judge.figures(state, ordered(judge, pairs))
    found = find_intervals(judge, state, figures, 60, 0).intervals
    assert set(found) == set(figures)
    assert all(low <= high for low, high in found.values())
    assert any(low < high for low, high in found.values())
    assert find_intervals(judge, state, figures, 60, 0).intervals == found
    assert find_intervals(judge, state, figures, 60, 1).intervals != found
    assert find_intervals(judge, state, figures, 0, 0).intervals == {}


def test_figures_that_are_undefined_have_none() -> None:
    found = confidence_intervals({"a": 1.0, "b": float("nan")}, lambda rng: {"a": 1.0, "b": 2.0}, replicates=3, seed=0)
    assert found == {"a": (1.0, 1.0)}
