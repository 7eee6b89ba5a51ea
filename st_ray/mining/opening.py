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
_SPREAD = 16
"""Rows of which one is in the sample that rows have their own floors from."""
_AT_A_TIME = 1024


def guesses(triangle: Triangle, rows: Tensor, top_k: int, max_pairs: int) -> Iterator[Floors]:
    """Floors to try one after the other; the last ones are certain to be low enough."""
    n = len(rows)
    rng = np.random.default_rng(n)
    others = _sample(rng, n, _SAMPLE)
    asked = rng.choice(others, min(_ASKED, len(others)), replace=False)
    values = triangle.rough(*(triangle.block(_taken(rows, some), 0) for some in (asked, others))).cpu().numpy()
    values[np.arange(len(asked)), np.searchsorted(others, asked)] = -np.inf
    # Each row picks at most top_k others, a share of whom is in the sample.
    share = len(others) / n
    picked = min(math.ceil(top_k * share), len(others) - 1)
    values = np.partition(values, len(others) - picked, axis=1)[:, len(others) - picked :].ravel()
    expected = 2 * max_pairs * share * len(asked) / n
    for surplus in (1.15, 3.0):
        rank = int(surplus * expected + 4 * math.sqrt(expected) + 16)
        if rank >= len(values):
            break
        yield Floors(float(np.partition(values, len(values) - rank)[len(values) - rank]))
    yield Floors(rows=_row_floors(triangle, rows, top_k, rng))


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
    n = len(rows)
    size = max(8 * top_k, n // _SPREAD)
    if size >= n:
        return None
    others = _sample(rng, n, size)
    sample = triangle.block(_taken(rows, others), 0)
    found = []
    for start in range(0, n, _AT_A_TIME):
        values = triangle.rough(triangle.block(rows[start : start + _AT_A_TIME], start), sample).cpu().numpy()
        # One more, since a row may be in the sample itself.
        found.append(np.partition(values, len(others) - top_k - 1, axis=1)[:, len(others) - top_k - 1])
    return torch.from_numpy(np.concatenate(found)).double().to(rows.device)


def _sample(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """int64, ascending."""
    return np.sort(rng.choice(n, min(size, n), replace=False))


def _taken(rows: Tensor, places: np.ndarray) -> Tensor:
    return rows.index_select(0, torch.from_numpy(places).to(rows.device))
