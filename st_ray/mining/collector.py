"""Gathering pairs from anywhere, in any order, while keeping only what may still be among the best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from st_ray.core.pairs import Pairs, best, concatenated, picks, safe_floor
from st_ray.scoring.triangle import Floors, Triangle

_WAITING = 4
"""Pairs that may be gathered, in multiples of what can be kept, before those are dropped that others have overtaken."""
_FEW = 1 << 18
"""Pairs that may be gathered in any case."""


class Collector:
    """The best `max_pairs` pairs of those that one of their rows has among its best `top_k`.

    Args:
        rows: number of all rows.
        floors: what pairs must reach from the start; it rises with what is found.
    """

    def __init__(self, triangle: Triangle, rows: int, top_k: int, max_pairs: int, floors: Floors) -> None:
        self.floors = floors
        self._triangle = triangle
        self._rows = rows
        self._top_k = top_k
        self._max_pairs = max_pairs
        self._parts: list[Pairs] = []
        self._count = 0
        self._room = _WAITING * min(max_pairs, rows * top_k) + _FEW

    def absorb(self, pairs: Pairs) -> None:
        """Add pairs that have not been added before."""
        self._parts.append(pairs)
        self._count += len(pairs)
        if self._count > self._room:
            # Where many scores are equal, more than usual may have to stay.
            self._room = max(self._room, 2 * len(self.compact()))

    def compact(self) -> Pairs:
        """What has been added and may still matter, whatever else will be."""
        pairs = concatenated(self._parts)
        picked = picks(pairs, self._top_k)
        floor = safe_floor(pairs.scores, picked.counts, self._max_pairs)
        kept = pairs[(picked.counts > 0) & (pairs.scores >= floor)]
        self._parts, self._count = [kept], len(kept)
        self._raise_floors(floor, picked.full, picked.least)
        return kept

    def finish(self) -> Pairs:
        """The result, best first."""
        return best(self.compact(), self._max_pairs)

    def _raise_floors(self, floor: float, full: np.ndarray, least: np.ndarray) -> None:
        level = float(self._triangle.levels(torch.tensor([floor]))[0])
        rows = self.floors.rows
        if len(full):
            if rows is None:
                rows = torch.full((self._rows,), -torch.inf, dtype=torch.float64)
            places = torch.from_numpy(full).to(rows.device)
            levels = self._triangle.levels(torch.from_numpy(least)).to(rows.device)
            rows = rows.index_copy(0, places, torch.maximum(rows.index_select(0, places), levels))
        self.floors = replace(self.floors, least=max(self.floors.least, level), rows=rows)
