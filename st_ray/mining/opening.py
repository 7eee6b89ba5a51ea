"""Where to begin: floors from a sample of the rows, before any pair is known.

The floor of all pairs is a guess, a little below what the sample says, to be checked at the end: pairs above it are
found with certainty, so it was low enough if enough of them are found. Floors of single rows are certain.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from st_ray.scoring.triangle import Block, Floors, Triangle

_ASKED = 1024
_SAMPLE = 8192
"""Rows of the sample that are compared, and what with."""
_COST = 200
"""Of scoring a pair exactly, in comparisons with a row of a sample."""
_VALUES = 1 << 24
"""Comparisons at a time."""


def guesses(triangle: Triangle, rows: Tensor, top_k: int, max_pairs: int) -> Iterator[Floors]:
    """Floors to try one after the other; the last ones are certain to be low enough."""
    n = len(rows)
    rng = np.random.default_rng(n)
    others = _sample(rng, n, _SAMPLE)
    asked = np.searchsorted(others, rng.choice(others, min(_ASKED, len(others)), replace=False))
    for level in guessed_levels(triangle, _taken(rows, others), asked, n, top_k, max_pairs):
        yield Floors(level)
    yield Floors(rows=_row_floors(triangle, rows, top_k, rng))


def guessed_levels(
    triangle: Triangle, sample: Tensor, asked: np.ndarray, rows: int, top_k: int, max_pairs: int
) -> Iterator[float]:
    """Levels that the best `max_pairs` pairs of `rows` rows hopefully reach, falling; none where nearly all count.

    Args:
        sample: `[m, d]`, drawn from all rows.
        asked: int64 `[q]`, the places in it of the rows that are compared with all of it.
    """
    others = len(sample)
    some = sample.index_select(0, torch.from_numpy(asked).to(sample.device))
    values = triangle.rough(triangle.block(some, 0), triangle.block(sample, 0)).cpu().numpy()
    values[np.arange(len(asked)), asked] = -np.inf
    # Each row picks at most top_k others, a share of whom is in the sample.
    share = others / rows
    picked = min(math.ceil(top_k * share), others - 1)
    values = np.partition(values, others - picked, axis=1)[:, others - picked :].ravel()
    expected = 2 * max_pairs * share * len(asked) / rows
    for surplus in (1.15, 3.0):
        rank = int(surplus * expected + 4 * math.sqrt(expected) + 16)
        if rank >= len(values):
            break
        yield float(np.partition(values, len(values) - rank)[len(values) - rank])


def late_copies(blocks: Sequence[Block], top_k: int) -> Tensor | None:
    """The rows that more than `top_k` equal ones come before, bool `[n]`; None if there are none.

    All others prefer the earlier ones, so a late row is in no pair but those that it picks itself, and picks no other
    late one. Without this, the pairs within a large group of equal rows would all have to be scored.
    """
    lengths = torch.cat([block.squares for block in blocks]).cpu().numpy()
    _, kind, sizes = np.unique(lengths, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(sizes[kind] > top_k + 1)
    if not len(suspects):
        return None
    rows = _taken(torch.cat([block.rows for block in blocks]), suspects).cpu().contiguous().numpy()
    _, kind, sizes = np.unique(rows.view(f"V{rows[0].nbytes}")[:, 0], return_inverse=True, return_counts=True)
    order = np.argsort(kind, kind="stable")
    before = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    late = torch.zeros(len(lengths), dtype=torch.bool, device=blocks[0].rows.device)
    late[torch.from_numpy(suspects[order[before > top_k]])] = True
    return late if late.any() else None


def _row_floors(triangle: Triangle, rows: Tensor, top_k: int, rng: np.random.Generator) -> Tensor | None:
    """Levels that the best `top_k` others of each row reach, float64 `[n]`: those of the best in a sample."""
    size = level_sample(len(rows), top_k)
    if size <= top_k + 1:
        return None
    others = _sample(rng, len(rows), size)
    sample = triangle.block(_taken(rows, others), 0)
    return torch.from_numpy(row_levels(triangle, rows, sample, top_k)).to(rows.device)


def level_sample(rows: int, top_k: int) -> int:
    """How many rows levels are best found by: twice as many cost twice as much, and leave half as many pairs."""
    return min(rows, math.isqrt(_COST * top_k * rows))


def row_levels(triangle: Triangle, rows: Tensor, sample: Block, top_k: int) -> np.ndarray:
    """Levels that the best `top_k` others of each row reach, float64 `[n]`: those of the best of the sample.

    Args:
        rows: `[n, d]`.
        sample: more than `top_k` + 1 rows.
    """
    found = []
    some = max(1, _VALUES // len(sample))
    for start in range(0, len(rows), some):
        values = triangle.rough(triangle.block(rows[start : start + some], start), sample).cpu().numpy()
        # One more, since a row may be in the sample itself.
        found.append(np.partition(values, len(sample) - top_k - 1, axis=1)[:, len(sample) - top_k - 1])
    return np.concatenate(found).astype(np.float64)


def _sample(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """int64, ascending."""
    return np.sort(rng.choice(n, min(size, n), replace=False))


def _taken(rows: Tensor, places: np.ndarray) -> Tensor:
    return rows.index_select(0, torch.from_numpy(places).to(rows.device))
