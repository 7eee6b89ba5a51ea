"""The labels that losses take, told by whoever has no torch."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from st_ray.training.loss_rules import LABEL_RULES, LOSSES_OF, label_rule


def test_every_loss_has_a_rule() -> None:
    assert tuple(LABEL_RULES) == (*LOSSES_OF["cross-encoder"], *LOSSES_OF["bi-encoder"])


ANY = [-9, 0.5, 3e38]


@pytest.mark.parametrize(
    ("loss", "classes", "taken", "refused"),
    [
        ("bce", None, [0, 0.3, 1], [-0.1, 1.5]),
        ("ce", 3, [0, 1, 2], [3, 0.5, -1]),
        ("ce", None, [0, 7], [0.5, -1]),
        ("mse", None, ANY, []),
        ("margin-mse", None, ANY, []),
        ("cosine", None, [-1, 0.5, 1], [-1.01, 1.01]),
        ("cosent", None, ANY, []),
        ("angle", None, ANY, []),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_labels(dtype: type, loss: str, classes: int | None, taken: list[float], refused: list[float]) -> None:
    rule = label_rule(loss, classes)
    assert not rule.broken(np.array([taken, taken], dtype)).any()
    for label in (*refused, math.nan, math.inf, -math.inf):
        labels = np.array([[*taken, label], [label, *taken]], dtype)
        assert rule.broken(labels).tolist() == [[False] * len(taken) + [True], [True] + [False] * len(taken)]


def test_what_float32_does_not_hold_is_refused() -> None:
    assert label_rule("mse").broken(np.array([1e300, -1e39])).all()


def test_flags_are_known_before_any_large_library_loads() -> None:
    code = "import sys, jobs.train_cross_encoder, jobs.train_bi_encoder\nassert not {'ray', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
