"""Best thresholds and average precision: as the peers', and the same for any ranges of scores."""

from __future__ import annotations

import warnings
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.evaluation import BinaryClassificationEvaluator
from sklearn.metrics import average_precision_score

from st_ray.evaluation.thresholds import (
    ScoreRange,
    binary_figures,
    compatible_figures,
    range_bests,
    range_contexts,
    tie_aware_figures,
)

TIED = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
PAIRS = st.lists(st.tuples(TIED | st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=40)


def arrays(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in pairs], np.float32), np.array([label for _, label in pairs])


@given(PAIRS)
def test_tie_aware_figures_are_the_latest_peers(pairs: list[tuple[float, bool]]) -> None:
    scores, positive = arrays(pairs)
    _, found = binary_figures(scores, positive)
    peer, labels = BinaryClassificationEvaluator, positive.astype(int)
    accuracy = peer.find_best_acc_and_threshold(scores, labels, True)
    f1 = peer.find_best_f1_and_threshold(scores, labels, True)
    assert (found.accuracy, found.accuracy_threshold) == accuracy
    assert (found.f1, found.precision, found.recall, found.f1_threshold) == f1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no positive label
        assert found.average_precision == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


@given(PAIRS)
def test_compatible_figures_cut_between_any_neighbours(pairs: list[tuple[float, bool]]) -> None:
    scores, positive = arrays(pairs)
    found, _ = binary_figures(scores, positive)
    ranked = sorted(zip(scores, positive, strict=True), key=lambda pair: pair[0], reverse=True)
    best, best_f1 = (0, -1), (0, 0)
    for cut in range(1, len(ranked)):
        right = sum(label for _, label in ranked[:cut])
        wrong = sum(label for _, label in ranked[cut:])
        threshold = (ranked[cut - 1][0] + ranked[cut][0]) / 2
        accuracy = (right + len(ranked) - cut - wrong) / len(ranked)
        best = max(best, (accuracy, threshold), key=lambda one: one[0])
        precision, recall = right / cut, right / (right + wrong) if right else 0
        f1 = 2 * precision * recall / (precision + recall) if right else 0
        best_f1 = max(best_f1, (f1, threshold), key=lambda one: one[0])
    assert (found.accuracy, found.accuracy_threshold) == best
    assert (found.f1, found.f1_threshold) == best_f1


@given(PAIRS, st.lists(TIED | st.floats(0, 1, width=32), max_size=6))
def test_any_ranges_give_the_same(pairs: list[tuple[float, bool]], bounds: list[float]) -> None:
    scores, positive = arrays(pairs)
    numbers = np.searchsorted(np.unique(np.array(bounds, np.float32)), scores, side="right")
    ranges = [ScoreRange.of(scores[numbers == n], positive[numbers == n]) for n in range(len(bounds), -1, -1)]
    outlines = [one.outline() for one in ranges]
    bests = [range_bests(one, around) for one, around in zip(ranges, range_contexts(outlines), strict=True)]
    found = compatible_figures(bests), tie_aware_figures(bests, outlines)
    assert tuple(map(astuple, found)) == tuple(map(astuple, binary_figures(scores, positive)))


def test_a_midpoint_between_neighbouring_floats_lets_nothing_in() -> None:
    low = np.float32(0.1)
    high = np.nextafter(low, np.float32(1))
    _, found = binary_figures(np.array([high, low]), np.array([True, False]))
    assert (found.f1, found.f1_threshold) == (1, high)
