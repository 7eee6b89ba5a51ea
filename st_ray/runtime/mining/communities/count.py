"""How many neighbours each row has: all unordered pairs of groups of rows, each pair of rows scanned once."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from st_ray.mining.neighbourhoods import STRIP, Rows, all_counts, neighbour_counts, single_threads
from st_ray.runtime.mining.communities.rows import block_rows, load_rows
from st_ray.runtime.pipeline import Row, task_of
from st_ray.scoring.kernels import strict_products
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.embeddings import parquet_bytes
from st_ray.store.output import Part
from st_ray.store.readers.files import reading

_LEAST_GROUP = 16_384
"""Rows of a group: half a second of work for its pairs, at least."""
_GROUPS = 80
"""So that there are some thousand pairs of them, at most."""
_BLOCK_ROWS = 65_536
"""Of a group, that are in memory at a time, twice."""
_KEPT = 2
"""Blocks that an actor keeps."""
_READERS = 8
"""Parts that are read at a time: an object store lets one wait for each."""


class Span(NamedTuple):
    """The rows at `first` up to before `last`."""

    first: int
    last: int

    @property
    def rows(self) -> int:
        """How many."""
        return self.last - self.first

    def within(self, other: Span) -> slice:
        """Where these rows are among those of another span that has them."""
        return slice(self.first - other.first, self.last - other.first)

    def cut(self, most: int) -> list[Span]:
        """Consecutive spans of at most `most` rows and about the same size."""
        bounds = np.linspace(self.first, self.last, max(1, -(-self.rows // most)) + 1).astype(np.int64).tolist()
        return [Span(*pair) for pair in itertools.pairwise(bounds)] if self.rows else []


@dataclass(frozen=True)
class Pair:
    """Two groups of rows, or one with itself: what a task compares."""

    ours: Span
    theirs: Span

    @property
    def pairs(self) -> int:
        """Unordered pairs of rows; a row with itself is one."""
        rows = self.ours.rows
        return rows * (rows + 1) // 2 if self.ours == self.theirs else rows * self.theirs.rows

    def __str__(self) -> str:
        """For errors."""
        return " and ".join(f"rows {span.first:,} to {span.last - 1:,}" for span in self.groups)

    @property
    def groups(self) -> tuple[Span, ...]:
        """One or two."""
        return (self.ours,) if self.ours == self.theirs else (self.ours, self.theirs)


def cut_pairs(rows: int) -> list[Pair]:
    """All unordered pairs of groups of `rows` rows, those with the same first one behind one another."""
    groups = Span(0, rows).cut(max(_LEAST_GROUP, -(-rows // _GROUPS)))
    return [Pair(*pair) for pair in itertools.combinations_with_replacement(groups, 2)]


class CountPair:
    """The step, in an actor: the neighbours that the rows of two groups have in one another.

    Memory: two blocks of rows, their counts, and some tiles a thread.

    Args:
        threads: compute threads.
        device: cpu or cuda.
    """

    def __init__(self, store: StoredVectors, threshold: float, threads: int, device: str, meter: Any) -> None:
        self._store, self._threshold, self._threads, self._device = store, threshold, threads, device
        self._meter = meter
        self._kept: dict[Span, Rows] = {}

    def __call__(self, row: Row) -> Row:
        """The counts of one group behind those of the other, int32; raises what `load_rows` raises."""
        torch.set_num_threads(self._threads)  # Ray may call from another thread each time
        pair: Pair = task_of(row)
        counts = np.zeros(sum(group.rows for group in pair.groups), np.int64)
        ours, theirs = counts[: pair.ours.rows], counts[-pair.theirs.rows :]
        for one, other in self._blocks(pair):
            here, there = one.within(pair.ours), other.within(pair.theirs)
            if one == other:
                ours[here] += all_counts(self._rows(one), self._threshold)
            else:
                of_one, of_other = counts_between(self._rows(one), self._rows(other), self._threshold)
                ours[here] += of_one
                theirs[there] += of_other
            self._meter.add(rows=Pair(one, other).pairs)
        self._meter.flush()
        return {"counts": counts.astype(np.int32), "first": pair.ours.first}

    def _blocks(self, pair: Pair) -> Iterator[tuple[Span, Span]]:
        ours, theirs = (group.cut(block_rows(_BLOCK_ROWS, self._store.dimension)) for group in (pair.ours, pair.theirs))
        for one in ours:
            yield from ((one, other) for other in theirs if other >= one)

    def _rows(self, block: Span) -> Rows:
        """Those of a block, which is now the last that is forgotten."""
        rows = self._kept.pop(block, None)
        while len(self._kept) >= _KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[block] = load_rows(self._store, *block, self._device) if rows is None else rows
        return self._kept[block]


def counts_between(first: Rows, second: Rows, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """`neighbour_counts` with as many strips at a time as torch has threads."""
    strips = [slice(start, start + STRIP) for start in range(0, len(first), STRIP)]
    ours, theirs = np.zeros(len(first), np.int64), np.zeros(len(second), np.int64)
    with strict_products(), single_threads(first.given.is_cuda) as pool:
        found = pool.map(lambda strip: neighbour_counts(first[strip], second, threshold), strips)
        for strip, (here, there) in zip(strips, found, strict=True):
            ours[strip] = here
            theirs += there
    return ours, theirs


def finish_counts(row: Row) -> Part:
    """The part of a pair of groups."""
    counts = pa.table({"neighbours": row["counts"]})
    return Part(parquet_bytes(counts), len(counts), row["first"])


def tally(files: Sequence[tuple[str, Pair]], rows: int, least: int) -> tuple[np.ndarray, int]:
    """Neighbours of each row, int64 `[rows]`, from the parts of all pairs, and how many rows have `least` or more.

    Raises:
        InputError: a part is missing or damaged; it is named.
    """
    sizes = np.zeros(rows, np.int64)
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(files), _READERS):
            some = files[start : start + _READERS]
            for (_, pair), counts in zip(some, pool.map(_read_counts, [url for url, _ in some]), strict=True):
                sizes[slice(*pair.ours)] += counts[: pair.ours.rows]
                if pair.ours != pair.theirs:
                    sizes[slice(*pair.theirs)] += counts[pair.ours.rows :]
    return sizes, int(np.count_nonzero(sizes >= least))


def _read_counts(url: str) -> np.ndarray:
    filesystem, path = fs.open_fs(url)
    with reading(url), filesystem.open(path, "rb") as file:
        return pq.read_table(io.BytesIO(file.read()))["neighbours"].to_numpy()
