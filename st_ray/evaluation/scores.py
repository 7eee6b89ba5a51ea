"""What evaluators ask of scores and labels, and the errors where they are something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from st_ray.core.errors import InputError

Describe = Callable[[int], str]


def one_score_each(scores: Any, count: int, describe: Describe) -> np.ndarray:
    """The scores as floats `[count]`, of their own type where that is one.

    Args:
        describe: names a pair by its number, for an error.

    Raises:
        InputError: there are more or fewer, or several a pair, or one is not a number.
    """
    scores = _floats(scores, count)
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    if scores.ndim != 1:
        raise InputError(
            f"the model gives {scores.shape[1]} scores a pair, and this evaluator needs one",
            "use a model with one label, or the evaluator CEF1Evaluator or CESoftmaxAccuracyEvaluator",
        )
    _check_numbers(scores, describe)
    return scores


def predicted_classes(scores: Any, count: int, describe: Describe) -> np.ndarray:
    """The class of the highest score of each pair, int64 `[count]`; the first of equal ones.

    Raises:
        InputError: there are more or fewer rows of scores, or one score a pair alone, or one is not a number.
    """
    scores = _floats(scores, count)
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise InputError(
            "the model gives one score a pair, and this evaluator needs one a class",
            "use a model with two labels or more, or the evaluator CEBinaryClassificationEvaluator",
        )
    _check_numbers(scores, describe)
    return np.argmax(scores, axis=1)


def check_binary(labels: np.ndarray) -> np.ndarray:
    """Labels `[n]` as bool. Raises InputError for one that is neither 0 nor 1."""
    wrong = np.flatnonzero((labels != 0) & (labels != 1))
    if len(wrong):
        raise InputError(
            f"label {int(wrong[0])} is {labels[wrong[0]]!s}, and a binary label is 0 or 1", "map the labels to 0 and 1"
        )
    return labels == 1


def check_lengths(pairs: Sequence[Any], labels: Sequence[Any] | np.ndarray) -> None:
    """Raise InputError unless there is a label a pair, and a pair."""
    if len(pairs) != len(labels):
        raise InputError(f"{len(pairs)} pairs and {len(labels)} labels", "give one label a pair")
    if not len(pairs):
        raise InputError("there are no pairs", "give at least one")


def _floats(scores: Any, count: int) -> np.ndarray:
    scores = np.asarray(scores)
    if not len(scores.shape) or len(scores) != count:
        raise InputError(f"the model gave {scores.shape} scores for {count} pairs", "its `predict` must give one each")
    return scores if np.issubdtype(scores.dtype, np.floating) else scores.astype(np.float64)


def _check_numbers(scores: np.ndarray, describe: Describe) -> None:
    wrong = np.isnan(scores) if scores.ndim == 1 else np.isnan(scores).any(axis=1)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InputError(
            f"the score of {describe(first)} is not a number (such pairs: {np.count_nonzero(wrong):,})",
            "check the model's weights; float16 can overflow where float32 does not",
        )
