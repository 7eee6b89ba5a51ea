"""All scores in float64, sorted: what mining must find."""

from __future__ import annotations

import numpy as np
import torch

NAMES = ("cosine", "dot", "euclidean", "manhattan")


def scores_of(name: str, rows: torch.Tensor) -> np.ndarray:
    """float32 `[n, n]`."""
    matrix = rows.double().numpy()
    one, other = matrix[:, None], matrix[None]
    with np.errstate(invalid="ignore"):
        scores = {
            "cosine": lambda: np.nan_to_num(
                (one * other).sum(-1) / np.sqrt((one * one).sum(-1) * (other * other).sum(-1))
            ),
            "dot": lambda: (one * other).sum(-1),
            "euclidean": lambda: -np.sqrt(((one - other) ** 2).sum(-1)),
            "manhattan": lambda: -np.abs(one - other).sum(-1),
        }[name]()
    return scores.astype(np.float32)


def brute_force(scores: np.ndarray, top_k: int, max_pairs: int) -> list[list[float | int]]:
    """`[score, i, j]`, best first, from scores `[n, n]`."""
    n = len(scores)
    kept = set()
    for i in range(n):
        others = sorted((j for j in range(n) if j != i), key=lambda j: (-scores[i, j], j))
        kept |= {(min(i, j), max(i, j)) for j in others[:top_k]}
    found = sorted((-scores[i, j], i, j) for i, j in kept)[:max_pairs]
    return [[float(-score), i, j] for score, i, j in found]
