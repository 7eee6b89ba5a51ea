"""The parts of the result, and what is told of all pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from st_ray.core.figure import padded
from st_ray.core.pairs import Pairs, concatenated
from st_ray.runtime.meter import MeterClient
from st_ray.runtime.mining.paraphrases.staged import Slices, order_keys
from st_ray.runtime.pipeline import Row, task_of
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.embeddings import parquet_bytes
from st_ray.store.output import Part
from st_ray.store.pairs import pairs_table

PART_PAIRS = 100_000
"""Pairs of a part of the result."""
BINS = 60
"""Of the histogram of scores."""


@dataclass(frozen=True)
class WritePairs:
    """Gathers ids, and texts if they are kept, for a range of the result: a task is the number of its first pair and
    of the one after its last."""

    store: StoredVectors
    pairs: Slices
    keep_text: bool
    meter: MeterClient

    def __call__(self, row: Row) -> Part:
        """The part. Raises InputError where a file of the store or of the pairs is damaged."""
        first, last = task_of(row)
        pairs = concatenated(list(self.pairs.parts(first, last)))
        names = ["id", *(["text"] if self.keep_text else [])]
        positions, places = np.unique(np.concatenate([pairs.first, pairs.second]), return_inverse=True)
        # Without any pair, the first row tells the type of the ids.
        rows = self.store.columns_at(names, positions if len(pairs) else np.arange(min(1, self.store.rows)))
        first_rows, second_rows = (rows.take(pa.array(side, pa.int64())) for side in np.split(places, [len(pairs)]))
        table = pairs_table(first_rows, second_rows, pa.array(pairs.scores))
        self.meter.add(rows=len(table))
        self.meter.flush()
        return Part(parquet_bytes(table), len(table), first)


@dataclass(frozen=True)
class Survey:
    """Figures of all pairs of a result.

    Attributes:
        paired: rows that are in a pair.
        best: score of the first pair; NaN if there is none, as `last`, of the last one.
        counts: `[BINS]` int64, pairs by score, in bins of one width from `last` to `best`, or around both.
    """

    paired: int
    best: float
    last: float
    counts: np.ndarray


def survey(pairs: Slices, rows: int) -> list[Survey]:
    """The figures, in a list, as `spread` takes what a task gives. It takes a byte for each of `rows` rows."""
    if not pairs.count:
        return [Survey(0, np.nan, np.nan, np.zeros(BINS, np.int64))]
    best = float(next(pairs.parts(0, 1)).scores[0])
    last = float(pairs.last().scores[0])
    paired = np.zeros(rows, bool)
    counts = np.zeros(BINS, np.int64)
    for part in pairs.all():
        paired[part.first] = paired[part.second] = True
        counts += np.histogram(part.scores.astype(np.float64), BINS, padded(last, best, margin=0))[0]
    return [Survey(int(paired.sum()), best, last, counts)]


def count_found(pairs: Slices, expected: Pairs, complete: bool) -> list[tuple[int, int]]:
    """How many of the `expected` pairs are among `pairs`, and how many could be, in a list, as `spread` takes it.

    Args:
        expected: in order.
        complete: whether `pairs` ends because there are no more; else those behind its last one are not expected.
    """
    if not complete:
        last = pairs.last()
        key, end = order_keys(last)[0], last.second[0]
        keys = order_keys(expected)
        expected = expected[(keys < key) | ((keys == key) & (expected.second <= end))]
    found = 0
    names = _names(expected)
    for part in pairs.all():
        found += int(np.isin(names, _names(part)).sum())
    return [(found, len(expected))]


def _names(pairs: Pairs) -> np.ndarray:
    """One number a pair, uint64 `[m]`; rows are below 2^32."""
    return (pairs.first.astype(np.uint64) << np.uint64(32)) | pairs.second.astype(np.uint64)
