"""All pairs of rows that score high enough, each unordered pair once, at nearly the price of the products alone.

Scores are computed twice, as in `scan`: all of them roughly, in tiles that stay in the processor's cache, and those
that may reach a floor once more, exactly, each pair by itself. Of a tile, first only the greatest of neighbouring
values are looked at, and single values only where these are great enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from st_ray.core.pairs import Pairs
from st_ray.scoring.kernels import Kernel, Side, coarse_is_faster, kernel_of, rounded, spacing, squares, strict_products
from st_ray.scoring.similarity import Similarity

TILE = {"cpu": (1024, 2048), "cuda": (8192, 16384)}
"""Rows and columns of a tile; its values take 8 MiB on CPUs, which their last cache holds."""
_CHUNK = 64
"""Neighbouring values of which first only the greatest is looked at."""
_CROWDED = 64
"""A coarse tile is done again in float32 if one of so many of its values is a candidate."""
_PAIRS = 1024
"""Pairs that are scored exactly at a time; their rows stay in the cache."""


@dataclass(frozen=True)
class Block:
    """Rows `first`, `first` + 1, ..., ready to be compared.

    Attributes:
        rows: `[n, d]` of any real dtype, finite.
        side: the same rows as the kernel prepares them.
        squares: float64 `[n]`, the squared lengths of `rows`.
    """

    rows: Tensor
    first: int
    side: Side
    squares: Tensor

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Floors:
    """What a pair must reach to matter, in levels (see `Triangle.levels`).

    Attributes:
        least: for all pairs.
        rows: float64 `[n]`, for the rows 0 to n - 1 of all blocks: a pair must also reach that of one of its two rows.
        late: bool `[n]`, rows of whom no two make a pair that matters.
    """

    least: float = -torch.inf
    rows: Tensor | None = None
    late: Tensor | None = None

    def of(self, block: Block) -> Tensor:
        """float64 `[len(block)]`."""
        if self.rows is None:
            return torch.full_like(block.side.lengths, self.least)
        return self.rows[block.first : block.first + len(block)].to(block.rows.device).clamp(min=self.least)

    def some_early(self, one: Block, other: Block, i: Tensor, j: Tensor) -> Tensor:
        """bool `[m]`, for pairs of rows of the blocks: whether one of both is not late."""
        if self.late is None:
            return torch.ones_like(i, dtype=torch.bool)
        late = self.late.to(i.device)
        return ~(late.index_select(0, i + one.first) & late.index_select(0, j + other.first))


class Triangle:
    """Compares blocks of rows with each other.

    Args:
        coarse: whether rough values may be computed in bfloat16, which changes no result; by default, where the
            hardware is fast at it.
    """

    def __init__(self, similarity: Similarity, *, coarse: bool | None = None) -> None:
        self._kernel = kernel_of(similarity)
        self._coarse = coarse
        self._buffer: Tensor | None = None

    def block(self, rows: Tensor, first: int) -> Block:
        """`rows`, `[n, d]` of any real dtype, whose numbers begin with `first`; it takes about 1.5 times their memory.

        Raises:
            ValueError: a row is not finite.
        """
        finite = torch.isfinite(rows).all(dim=1)
        if not finite.all():
            raise ValueError(f"row {first + int((~finite).nonzero()[0])} of the embeddings is not finite")
        coarse = self._coarse if self._coarse is not None else coarse_is_faster(rows)
        wide = rows.to(torch.promote_types(torch.float32, rows.dtype))
        return Block(wide, first, self._kernel.prepare(wide, coarse), squares(wide))

    def levels(self, scores: Tensor) -> Tensor:
        """float64 numbers that stand for scores float32, in the same order, in the unit of rough values."""
        return self._kernel.to_scan(Side(scores[:, None], torch.zeros_like(scores, dtype=torch.float64)), scores)

    def rough(self, one: Block, other: Block) -> Tensor:
        """Lower bounds of the levels of all pairs, float32 `[len(one), len(other)]`."""
        with strict_products():
            values = self._kernel.scan(one.side, other.side, None)
        values -= spacing(values, _is_coarse(one.side, other.side))
        lift, error = self._lift(one.side), self._kernel.error(one.side, other.side)
        return values.sub_((lift + error)[:, None].float())

    def survivors(self, one: Block, other: Block, floors: Floors) -> Iterator[Pairs]:
        """The pairs of a row of `one` with a row of `other` that reach their floors, with exact scores, tile by tile.

        The blocks are one and the same, or `one` lies before `other`.

        Raises:
            ValueError: the blocks overlap in another way, or a score is not a number.
        """
        same = one.first == other.first and len(one) == len(other)
        if not same and one.first + len(one) > other.first:
            raise ValueError(f"the block that begins with row {one.first} must lie before that of row {other.first}")
        if not len(one) or not len(other):
            return
        tall, wide = TILE.get(one.rows.device.type, TILE["cuda"])
        row_floors, column_floors = floors.of(one), floors.of(other)
        for row in range(0, len(one), tall):
            for column in range(row if same else 0, len(other), wide):
                rows, columns = slice(row, row + tall), slice(column, column + wide)
                tile = _Tile(one.side[rows], other.side[columns], row_floors[rows], column_floors[columns])
                i, j = self._above(tile, floors.rows is not None)
                i, j = i + row, j + column
                if same or floors.late is not None:
                    kept = floors.some_early(one, other, i, j)
                    if same:
                        kept &= i < j
                    i, j = i[kept], j[kept]
                if len(i):
                    yield self._scored(one, other, i, j, row_floors, column_floors)

    def _lift(self, side: Side) -> Tensor:
        """float64 `[n]`: what rough values of these rows are above levels."""
        return self._kernel.to_scan(side, torch.zeros_like(side.lengths, dtype=torch.float32))

    def _above(self, tile: _Tile, by_column: bool) -> tuple[Tensor, Tensor]:
        """Rows and columns in the tile of what may reach the floors."""
        values = self._values(tile)
        margin = self._lift(tile.rows) - self._kernel.error(tile.rows, tile.columns)
        coarse = _is_coarse(tile.rows, tile.columns)
        chunks = values.view(len(values), -1, _CHUNK)
        peaks = chunks.amax(dim=2)
        if peaks.isnan().any():
            raise ValueError("a score is not a number: the numbers of the embeddings are too large")
        of_columns = torch.nn.functional.pad(
            tile.column_floors, (0, values.shape[1] - len(tile.column_floors)), value=torch.inf
        ).view(-1, _CHUNK)
        if by_column:
            least = torch.minimum(tile.row_floors[:, None], of_columns.amin(dim=1)) + margin[:, None]
        else:
            least = (tile.row_floors + margin)[:, None]
        least = _finite(rounded(least, coarse))
        places = (peaks >= least).flatten().nonzero()[:, 0]
        row, chunk = places // peaks.shape[1], places % peaks.shape[1]
        single = least.expand_as(peaks).flatten().index_select(0, places)[:, None]
        if by_column:
            floors = torch.minimum(tile.row_floors.index_select(0, row)[:, None], of_columns.index_select(0, chunk))
            single = _finite(rounded(floors + margin.index_select(0, row)[:, None], coarse))
        inner = (chunks.flatten(0, 1).index_select(0, places) >= single).flatten().nonzero()[:, 0]
        if coarse and len(inner) * _CROWDED > values.numel():
            return self._above(tile.fine(), by_column)
        place = inner // _CHUNK
        return row.index_select(0, place), chunk.index_select(0, place) * _CHUNK + inner % _CHUNK

    def _values(self, tile: _Tile) -> Tensor:
        """Rough values, float32 `[rows, columns]`, filled up to whole chunks with what is below all others."""
        height, width = len(tile.rows.vectors), len(tile.columns.vectors)
        padded = width + -width % _CHUNK
        buffer = self._buffer
        if buffer is None or buffer.shape != (height, padded) or buffer.device != tile.rows.vectors.device:
            buffer = self._buffer = torch.empty(height, padded, device=tile.rows.vectors.device)
        buffer[:, width:] = -torch.inf
        with strict_products():
            self._kernel.scan(tile.rows, tile.columns, buffer[:, :width])
        return buffer

    def _scored(
        self, one: Block, other: Block, i: Tensor, j: Tensor, row_floors: Tensor, column_floors: Tensor
    ) -> Pairs:
        parts = [
            _exact(self._kernel, one, other, some, others)
            for some, others in zip(i.split(_PAIRS), j.split(_PAIRS), strict=True)
        ]
        scores = torch.cat(parts)
        if scores.isnan().any():
            raise ValueError("a score is not a number: the numbers of the embeddings are too large")
        floors = torch.minimum(row_floors.index_select(0, i), column_floors.index_select(0, j))
        kept = self.levels(scores) >= floors
        return Pairs(_numbers(i[kept] + one.first), _numbers(j[kept] + other.first), _numbers(scores[kept]))


@dataclass(frozen=True)
class _Tile:
    rows: Side
    columns: Side
    row_floors: Tensor
    column_floors: Tensor

    def fine(self) -> _Tile:
        return _Tile(self.rows.fine(), self.columns.fine(), self.row_floors, self.column_floors)


def _exact(kernel: Kernel, one: Block, other: Block, i: Tensor, j: Tensor) -> Tensor:
    return kernel.exact(one.rows.index_select(0, i), other.rows.index_select(0, j), one.squares.index_select(0, i))


def _is_coarse(rows: Side, columns: Side) -> bool:
    return rows.coarse is not None and columns.coarse is not None


def _finite(least: Tensor) -> Tensor:
    """More than padding has."""
    return least.clamp(min=torch.finfo(torch.float32).min)


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
