"""Before pairs are made: floors are guessed from a sample of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from st_ray.mining.opening import guessed_levels, level_sample, row_levels
from st_ray.runtime.meter import MeterClient
from st_ray.runtime.mining.paraphrases.staged import array_bytes, read_array
from st_ray.runtime.pipeline import Row, task_of
from st_ray.scoring.similarity import Similarity
from st_ray.scoring.triangle import Triangle
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.output import Part

_LEAST_SAMPLE, _MOST_SAMPLE = 8192, 65_536
_ASKED = 1024
"""Rows of the sample that are compared with all others of it."""


def sample_positions(rows: int, top_k: int) -> np.ndarray:
    """Of the sample: int64, rising; always the same."""
    size = min(max(_LEAST_SAMPLE, level_sample(rows, top_k)), _MOST_SAMPLE, rows)
    return np.sort(np.random.default_rng(rows).choice(rows, size, replace=False))


@dataclass(frozen=True)
class KeepSample:
    """Copies rows of the sample: a task is their positions. The part is an array, float32 `[m, d]`."""

    store: StoredVectors
    meter: MeterClient

    def __call__(self, row: Row) -> Part:
        """The part. Raises InputError where a part of the store is missing or damaged."""
        positions = task_of(row)
        rows = self.store.floats(self.store.take(positions))
        self.meter.add(rows=len(rows))
        self.meter.flush()
        return Part(array_bytes(rows), len(rows), 0)


def read_sample(urls: Sequence[str]) -> torch.Tensor:
    """`[m, d]` from the parts of `KeepSample`."""
    return torch.from_numpy(np.concatenate([read_array(url) for url in urls]))


def guess(urls: Sequence[str], similarity: Similarity, rows: int, top_k: int, max_pairs: int) -> list[list[float]]:
    """The levels of `guessed_levels`, from the sample at `urls`; in a list, as `spread` takes what a task gives."""
    sample = read_sample(urls)
    rng = np.random.default_rng(rows)
    sample = sample[torch.from_numpy(np.sort(rng.choice(len(sample), min(_LEAST_SAMPLE, len(sample)), replace=False)))]
    asked = rng.choice(len(sample), min(_ASKED, len(sample)), replace=False)
    return [list(guessed_levels(Triangle(similarity), sample, asked, rows, top_k, max_pairs))]


@dataclass(frozen=True)
class RowFloors:
    """Finds levels that the best others of each row of a block reach, by the sample: float64 `[n]`."""

    store: StoredVectors
    similarity: Similarity
    sample: Sequence[str]
    top_k: int
    threads: int
    meter: MeterClient

    def __call__(self, row: Row) -> Part:
        """The part."""
        torch.set_num_threads(self.threads)
        first, last = task_of(row)
        triangle = Triangle(self.similarity)
        sample = triangle.block(read_sample(self.sample), 0)
        found = [np.empty(0)]
        for _, stored in self.store.blocks(first, last):
            rows = torch.from_numpy(np.array(self.store.floats(stored)))
            found.append(row_levels(triangle, rows, sample, self.top_k))
        self.meter.add(rows=last - first)
        self.meter.flush()
        return Part(array_bytes(np.concatenate(found)), last - first, first)
