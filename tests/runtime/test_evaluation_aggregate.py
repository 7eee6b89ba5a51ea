"""Figures of parts: any cut, any ranges and the classes that work in memory all give the same bits."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import InputError
from st_ray.evaluation import evaluators, successors
from st_ray.evaluation.class_judges import F1, BinaryAccuracy, SoftmaxAccuracy
from st_ray.evaluation.judge import Judge, MetricState
from st_ray.evaluation.report import csv_row, find_intervals
from st_ray.evaluation.reranking_judge import Reranking
from st_ray.evaluation.score_judges import BinaryClassification, Correlation
from st_ray.runtime.evaluation.aggregate import Here, absorbed, evaluate
from st_ray.store.scores import ScoresPart, scores_part

LEVELS = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1, width=32)
JUDGES = [BinaryAccuracy(0.25), BinaryClassification(), Correlation(), F1(), SoftmaxAccuracy(), Reranking(3)]


class Crowd(Here):
    """Evaluators that report in another order than they were asked in."""

    size = 3

    def states(self, judge: Judge, groups: Sequence[Sequence[ScoresPart]], seed: int) -> list[MetricState]:
        return [absorbed(judge, group, seed) for group in groups][::-1]


class FixedModel:
    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores
        self.num_labels = 1 if scores.ndim == 1 else scores.shape[1]

    def predict(self, sentences: Any, **options: Any) -> np.ndarray:
        return self.scores[: len(sentences)]


def written(
    folder: str, cuts: Sequence[int], rows: np.ndarray, labels: np.ndarray, scores: np.ndarray
) -> list[ScoresPart]:
    """Parts of the pairs before, between and behind the cuts."""
    parts = []
    for number, piece in enumerate(np.split(np.arange(len(rows)), cuts)):
        columns = {"row": pa.array(rows[piece]), "label": pa.array(labels[piece])}
        path = Path(folder, f"part-{number}.parquet")
        path.write_bytes(scores_part(columns, scores[piece] if scores.ndim == 2 else scores[piece, None]))
        parts.append(ScoresPart(str(path), len(piece)))
    return parts


@st.composite
def cut_pairs(draw: st.DrawFn) -> tuple[Judge, np.ndarray, np.ndarray, np.ndarray, list[int]]:
    judge = draw(st.sampled_from(JUDGES))
    count = draw(st.integers(4, 30))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    labels[:2] = [0, 1]
    scores = np.array(draw(st.lists(LEVELS, min_size=count, max_size=count)), np.float32)
    rows = np.arange(count)
    if isinstance(judge, Reranking):
        more = draw(st.lists(st.integers(0, 9), min_size=count - 2, max_size=count - 2))
        rows = np.array([0, 0, *sorted(more)])
        labels = labels[np.lexsort((-labels, rows))]  # the class has the relevant documents first
    if isinstance(judge, Correlation):
        labels = np.array(draw(st.lists(LEVELS, min_size=count, max_size=count)))
    if judge.several_scores:
        scores = np.stack([1 - scores, scores], axis=1)
    cuts = sorted(draw(st.lists(st.integers(0, count), max_size=6)))
    if isinstance(judge, Reranking):
        cuts = [int(np.searchsorted(rows, rows[min(cut, count - 1)])) for cut in cuts]
    return judge, rows, labels, scores, cuts


@settings(max_examples=150, deadline=None)
@given(cut_pairs(), st.integers(1, 12))
def test_any_cut_any_ranges_and_the_class(
    data: tuple[Judge, np.ndarray, np.ndarray, np.ndarray, list[int]], range_pairs: int
) -> None:
    judge, rows, labels, scores, cuts = data
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "cut").mkdir()
        whole = evaluate(judge, written(folder, [], rows, labels, scores), Here(), seed=0)
        parts = evaluate(judge, written(f"{folder}/cut", cuts, rows, labels, scores), Crowd(), 0, range_pairs)
    np.testing.assert_equal(parts.figures, whole.figures)
    found = [find_intervals(judge, one.state, one.figures, 5, 0) for one in (whole, parts)]
    np.testing.assert_equal(dict(found[0].intervals), dict(found[1].intervals))
    assert csv_row(judge.columns(whole.figures)) == csv_row(judge.columns(parts.figures))
    np.testing.assert_equal(list(judge.columns(whole.figures).values()), in_memory(judge, rows, labels, scores))


def in_memory(judge: Judge, rows: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> list[float]:
    """The figures of the class, in the order of its CSV file."""
    kind: Any = getattr(evaluators, judge.class_name)
    if isinstance(judge, Reranking):
        samples, scored = [], []
        for row in np.unique(rows):
            mine = np.flatnonzero(rows == row)
            texts = {label: [str(number) for number in mine if labels[number] == label] for label in (0, 1)}
            samples.append({"query": "q", "positive": texts[1], "negative": texts[0]})
            scored += mine.tolist() if texts[0] and texts[1] else []
        return list(kind(samples, at_k=judge.at_k)._figures(FixedModel(scores[scored])))
    options = {"threshold": judge.threshold} if isinstance(judge, BinaryAccuracy) else {}
    pairs = [["a", "b"]] * len(labels)
    return [float(one) for one in kind(pairs, labels.tolist(), **options)._figures(FixedModel(scores))]


def test_the_latest_terms_are_those_of_the_successors() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(2, size=90), np.round(rng.random(90), 1).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        parts = written(folder, [30, 60], np.arange(90), labels, scores)
        found = evaluate(BinaryClassification(), parts, Here(), 0, range_pairs=20).figures
        relevant = np.sort(labels.reshape(9, 10))[:, ::-1].ravel()
        parts = written(folder, [30, 60], np.arange(90) // 10, relevant, scores)
        samples = evaluate(Reranking(4), parts, Here(), 0).figures
    pairs = [["a", "b"]] * 90
    classified = successors.CrossEncoderClassificationEvaluator(pairs, labels)(FixedModel(scores))
    assert {name: found[f"latest_{name}"] for name in classified} == classified
    texts = [
        {"query": "q", "positive": ["p"] * int(one.sum()), "negative": ["n"] * int(10 - one.sum())}
        for one in labels.reshape(9, 10)
    ]
    ranked = successors.CrossEncoderRerankingEvaluator(texts, at_k=4)(FixedModel(scores))
    assert [samples[f"latest_{name}"] for name in ("map", "mrr", "ndcg")] == list(ranked.values())


def test_nothing_to_judge(tmp_path: Path) -> None:
    none = np.zeros(0, np.int64)
    with pytest.raises(InputError, match="no scored pairs"):
        evaluate(Correlation(), written(str(tmp_path), [], none, none, np.zeros(0, np.float32)), Here(), 0)
    labels = np.array([0, 2])
    parts = written(str(tmp_path), [], np.arange(2), labels, np.ones(2, np.float32))
    with pytest.raises(InputError, match=r"part-0.*label 1 is 2, and a binary label is 0 or 1"):
        evaluate(BinaryClassification(), parts, Here(), 0)
    parts = written(str(tmp_path), [], np.zeros(2, int), np.ones(2, int), np.ones(2, np.float32))
    with pytest.raises(InputError, match="none of 1 samples has both"):
        evaluate(Reranking(3), parts, Here(), 0)
