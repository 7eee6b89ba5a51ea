"""Training examples as texts: what any format of data is read into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rows:
    """n examples of k inputs and m labels.

    Attributes:
        first: `[n]`, the first text of each example, which its inputs share.
        others: k columns of n texts; of a cross-encoder, input j is the pair of `first` and `others[j]`.
        labels: float32 `[n, m]`.
    """

    first: list[str]
    others: list[list[str]]
    labels: np.ndarray
