"""Rows of the store, cut into blocks whose pairs are the work of one task each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

_LEAST_ROWS, _MOST_ROWS = 16_384, 65_536
_WISHED = 64
"""Blocks, that make about 2,000 tasks."""
_BYTES = 256 << 20
"""Of a block's rows in float32."""
_PAIRS = 4_000_000
"""That a task may have to keep."""


@dataclass(frozen=True)
class Blocks:
    """`rows` rows, in blocks of `size`; the last one may be shorter."""

    rows: int
    size: int

    def __len__(self) -> int:
        return -(-self.rows // self.size)

    def bounds(self, number: int) -> tuple[int, int]:
        """The first row of a block, and the row after its last."""
        return number * self.size, min((number + 1) * self.size, self.rows)

    def rows_of(self, number: int) -> int:
        """How many they are."""
        first, last = self.bounds(number)
        return last - first

    def couples(self) -> list[tuple[int, int]]:
        """All unordered pairs of blocks, those of a block with itself included; neighbours share a block."""
        return list(itertools.combinations_with_replacement(range(len(self)), 2))

    def couples_with(self, number: int) -> list[int]:
        """Where in `couples` those are that have this block."""
        return [
            one * len(self) - one * (one - 1) // 2 + other - one
            for one, other in ((min(number, any_), max(number, any_)) for any_ in range(len(self)))
        ]


def cut_blocks(rows: int, dimension: int, top_k: int, max_pairs: int) -> Blocks:
    """Blocks that keep tasks in the thousands, and a task's rows and pairs within memory."""
    size = min(max(_LEAST_ROWS, -(-rows // _WISHED)), _MOST_ROWS, max(1024, _BYTES // (4 * dimension)))
    # A pair has two rows, each of which can have max_pairs or top_k of them.
    if 2 * max_pairs > _PAIRS:
        size = min(size, max(1024, _PAIRS // (2 * max(1, min(top_k, rows)))))
    return Blocks(rows, size)
