"""How close two results for the same inputs are: embeddings, or scores."""

from __future__ import annotations

import numpy as np


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosine of each row of `one` with the same row of `other`, float64 `[n]`; 1 where both are zero."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    both_zero = ~one.any(axis=1) & ~other.any(axis=1)
    return np.where(both_zero, 1.0, (one * other).sum(axis=1) / np.where(lengths == 0, 1.0, lengths))


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rho of two float `[n]`; nan where one of them is constant."""
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)
