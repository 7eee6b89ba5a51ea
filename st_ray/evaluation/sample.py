"""A uniform sample of rows that depends on the seed and the rows' numbers alone, however they are cut into parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from st_ray.core.splitmix import splitmix64

CAPACITY = 65_536


@dataclass(frozen=True, eq=False)
class Sample:
    """The rows with the smallest hashes (bottom-k), in the order of their numbers.

    Attributes:
        seed: of the hash.
        capacity: rows that are kept.
        rows: `[m]` int64 row numbers, rising.
        columns: arrays `[m, ...]` by name.
        seen: rows that were looked at.
    """

    seed: int
    capacity: int
    rows: np.ndarray
    columns: Mapping[str, np.ndarray]
    seen: int

    @classmethod
    def of(cls, rows: np.ndarray, columns: Mapping[str, np.ndarray], *, seed: int, capacity: int = CAPACITY) -> Sample:
        """From rows `[n]` with different numbers."""
        return cls(seed, capacity, rows, columns, len(rows))._cut()

    @classmethod
    def merged(cls, samples: Sequence[Sample]) -> Sample:
        """The sample of all rows that the samples (at least one) were taken from; no row is in two of them."""
        first = samples[0]
        columns = {name: np.concatenate([one.columns[name] for one in samples]) for name in first.columns}
        rows = np.concatenate([one.rows for one in samples])
        return cls(first.seed, first.capacity, rows, columns, sum(one.seen for one in samples))._cut()

    @property
    def complete(self) -> bool:
        """Whether it holds every row."""
        return self.seen == len(self.rows)

    def _cut(self) -> Sample:
        kept = np.arange(len(self.rows))
        if len(kept) > self.capacity:
            kept = np.lexsort((self.rows, _hashes(self.rows, self.seed)))[: self.capacity]
        kept = kept[np.argsort(self.rows[kept])]
        columns = {name: column[kept] for name, column in self.columns.items()}
        return Sample(self.seed, self.capacity, self.rows[kept], columns, self.seen)


def _hashes(rows: np.ndarray, seed: int) -> np.ndarray:
    """uint64, as good as random: SplitMix64, once over the seed and once over the row."""
    return splitmix64(rows.astype(np.uint64) ^ splitmix64(np.array([seed], np.uint64)))
