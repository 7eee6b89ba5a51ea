"""The names of the losses, and the labels that each takes: what flags and data are checked by, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

CrossEncoderLoss = Literal["bce", "ce", "mse", "margin-mse"]
BiEncoderLoss = Literal["cosine", "cosent", "angle"]
LOSSES_OF: Mapping[str, tuple[str, ...]] = {
    "cross-encoder": get_args(CrossEncoderLoss),
    "bi-encoder": get_args(BiEncoderLoss),
}
"""Names of the losses that train each kind of model."""
_MOST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class LabelRule:
    """The numbers that a loss takes as labels; by default any that float32 holds.

    Attributes:
        low: the least of them.
        high: the greatest of them.
        whole: whether they are whole numbers.
    """

    low: float = -_MOST
    high: float = _MOST
    whole: bool = False

    def broken(self, labels: np.ndarray) -> np.ndarray:
        """Which labels are not among these numbers: bool `[...]`, for floats `[...]`."""
        kept = (labels >= self.low) & (labels <= self.high)
        return ~(kept & (labels == np.rint(labels)) if self.whole else kept)


LABEL_RULES: Mapping[str, LabelRule] = {
    "bce": LabelRule(0, 1),
    "ce": LabelRule(0, whole=True),
    "mse": LabelRule(),
    "margin-mse": LabelRule(),
    "cosine": LabelRule(-1, 1),
    "cosent": LabelRule(),
    "angle": LabelRule(),
}
"""The labels of each loss; those of `ce` are the numbers of classes."""


def label_rule(loss: str, classes: int | None = None) -> LabelRule:
    """The labels that the loss takes, where they are classes of so many; None: of as many as there are."""
    rule = LABEL_RULES[loss]
    return rule if classes is None else replace(rule, high=classes - 1)
