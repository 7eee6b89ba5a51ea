"""Which rows an index is trained on, and which ones it is measured with; and how they are read."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import ray

from st_ray.scoring.vectors import StoredVectors

_MOST_PARTS = 256
"""Parts of the store that training rows come from: enough for a fair sample, and a small share of a large store."""


def held_out(store: StoredVectors, count: int, seed: int) -> np.ndarray:
    """Sorted positions of rows to measure with, int64, at most half of the store."""
    return _drawn(store, min(count, store.rows // 2), np.random.default_rng([seed, 0]))


def training_rows(store: StoredVectors, count: int, seed: int, without: np.ndarray) -> np.ndarray:
    """Sorted positions of rows to train on, int64; none of `without`, unless there are too few others."""
    rng = np.random.default_rng([seed, 1])
    drawn = _drawn(store, min(store.rows, count + len(without)), rng)
    others = np.setdiff1d(drawn, without, assume_unique=True)
    if len(others) < min(count, store.rows):
        others = drawn
    return np.sort(rng.choice(others, min(count, len(others)), replace=False))


def _drawn(store: StoredVectors, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` rows of some parts, drawn alike from each by its size."""
    parts = np.arange(len(store.entries))
    if len(parts) > _MOST_PARTS:
        parts = np.sort(rng.choice(parts, _MOST_PARTS, replace=False))
    sizes = np.array([store.entries[part].rows for part in parts.tolist()], np.int64)
    while sizes.sum() < count:  # small parts: take them all
        parts = np.arange(len(store.entries))
        sizes = np.array([entry.rows for entry in store.entries], np.int64)
    chosen = np.sort(rng.choice(int(sizes.sum()), count, replace=False))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    part = np.searchsorted(starts, chosen, side="right") - 1
    return store.offsets[parts[part]] + chosen - starts[part]


def read_rows(store: StoredVectors, positions: np.ndarray) -> list[Any]:
    """Ray objects with the rows at the sorted `positions`, in order: float32 `[n, d]`, of bits uint8 `[n, d / 8]`.

    Each is read by a task of its own, part by part.
    """
    cuts = np.searchsorted(positions, store.offsets)
    groups = [positions[low:high] for low, high in itertools.pairwise(cuts) if low < high]
    task = ray.remote(_read).options(num_cpus=0.5)
    return [task.remote(store, group) for group in groups]


def _read(store: StoredVectors, positions: np.ndarray) -> np.ndarray:
    rows = store.take(positions)
    return rows if store.is_binary else store.floats(rows)
