"""Two blocks of rows, compared: which pairs of theirs may be among the best of all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from st_ray.core.pairs import Pairs
from st_ray.mining.collector import Collector
from st_ray.mining.opening import late_copies
from st_ray.runtime.meter import MeterClient
from st_ray.runtime.mining.paraphrases.blocks import Blocks
from st_ray.runtime.mining.paraphrases.staged import pairs_bytes, read_array
from st_ray.runtime.pipeline import Row, task_of
from st_ray.scoring.similarity import Similarity
from st_ray.scoring.triangle import Block, Floors, Triangle
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.output import Part

_ROWS = 4096
"""Rows between whose pieces floors may rise."""
_WAITING = 2_000_000
"""Pairs that may be gathered before those are dropped that others have overtaken."""


@dataclass(frozen=True)
class Comparison:
    """What every actor is told.

    Attributes:
        least: level that all pairs must reach.
        row_floors: for each block, the file of levels that one of the rows of a pair must reach; empty without.
    """

    store: StoredVectors
    similarity: Similarity
    blocks: Blocks
    top_k: int
    max_pairs: int
    least: float
    row_floors: Sequence[str] = ()


class Compare:
    """The work of an actor: a task is a pair of blocks. It keeps the blocks of the last one."""

    def __init__(self, work: Comparison, threads: int, device: str, meter: MeterClient) -> None:
        self._work = work
        self._threads = threads
        self._device = device
        self._meter = meter
        self._triangle = Triangle(work.similarity)
        self._kept: dict[int, list[Block]] = {}

    def __call__(self, row: Row) -> Row:
        """The pairs' file as `data`, and their number as `rows`. Raises InputError where the store is damaged."""
        torch.set_num_threads(self._threads)
        work = self._work
        one, other = task_of(row)
        wanted = dict.fromkeys((one, other))
        self._kept = {number: self._kept.get(number) or self._pieces(number) for number in wanted}
        sides = [self._kept[number] for number in wanted]
        floors = Floors(work.least, self._row_floors(list(wanted)))
        found = compare(self._triangle, sides, work.top_k, work.max_pairs, floors, lambda n: self._meter.add(rows=n))
        starts = [work.blocks.bounds(number)[0] for number in wanted]
        pairs = _numbered(found, work.blocks.rows_of(one), starts)
        self._meter.flush()
        return {"data": pairs_bytes(pairs), "rows": len(pairs)}

    def _pieces(self, number: int) -> list[Block]:
        """A block's rows, numbered from 0, in pieces."""
        store = self._work.store
        first, last = self._work.blocks.bounds(number)
        rows = np.empty((last - first, store.dimension), np.float32)
        for position, stored in store.blocks(first, last):
            rows[position - first : position - first + len(stored)] = store.floats(stored)
        tensor = torch.from_numpy(rows).to(self._device)
        return [self._triangle.block(tensor[start : start + _ROWS], start) for start in range(0, len(rows), _ROWS)]

    def _row_floors(self, numbers: Sequence[int]) -> torch.Tensor | None:
        if not self._work.row_floors:
            return None
        levels = np.concatenate([read_array(self._work.row_floors[number]) for number in numbers])
        return torch.from_numpy(levels).to(self._device)


def compare(
    triangle: Triangle,
    sides: Sequence[Sequence[Block]],
    top_k: int,
    max_pairs: int,
    floors: Floors,
    count: Callable[[int], None] = lambda compared: None,
) -> Pairs:
    """The pairs of a row of the one side and a row of the other that may be among the best of all.

    Args:
        sides: one or two blocks, in pieces numbered from 0; of one, all pairs within it.
        floors: of the rows of both sides, one after the other.
        count: is told of pairs of rows that have been compared.

    Returns:
        Pairs by numbers: the rows of the first side come first, then those of the second.
    """
    first = sum(map(len, sides[0]))
    pieces = [*sides[0], *(replace(piece, first=piece.first + first) for side in sides[1:] for piece in side)]
    rows = sum(map(len, pieces))
    collector = Collector(triangle, rows, top_k, max_pairs, replace(floors, late=late_copies(pieces, top_k)))
    own, others = pieces[: len(sides[0])], pieces[len(sides[0]) :]
    work = itertools.product(own, others) if others else itertools.combinations_with_replacement(own, 2)
    waiting, kept = 0, 0
    for one, other in work:
        for found in triangle.survivors(one, other, collector.floors):
            collector.absorb(found)
            waiting += len(found)
        if waiting > max(_WAITING, kept):
            waiting, kept = 0, len(collector.compact())
        count(len(one) * len(other))
    return collector.compact()


def _numbered(pairs: Pairs, count: int, starts: Sequence[int]) -> Pairs:
    """Pairs by positions in the store, of pairs numbered over the sides; the first side has `count` rows."""
    shifts = np.array([starts[0], starts[-1] - count])
    first, second = (rows + shifts[(rows >= count).astype(np.int64)] for rows in (pairs.first, pairs.second))
    return Pairs(first, second, pairs.scores)


def compared_part(row: Row) -> Part:
    """What `Compare` made, ready to be published."""
    return Part(row["data"], row["rows"], 0)
