"""Which rows have a cosine at or above a threshold with which: counted, or listed.

Cosines are sums in float64, rounded to float32, but hardly any are computed so. A tile of all pairs is scanned with a
matrix product; the rounding error of the scan is bounded (see st_ray.scoring.kernels), so that only the pairs too near
to the threshold are scored exactly, each by itself. So it does not matter how rows are cut into blocks and tiles.
"""

from __future__ import annotations

import contextlib
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from st_ray.scoring.kernels import Side, coarse_is_faster, kernel_of, rounded, squares, strict_products
from st_ray.scoring.scan import TILE
from st_ray.scoring.similarity import similarity_of

_KERNEL = kernel_of(similarity_of("cosine"))
STRIP = 1024
"""Rows of one matrix product."""
_PAIRS = 4096
"""Pairs that are scored exactly at a time."""
_UNSURE = 256
"""A coarse tile in which more than one pair of so many is too near to the threshold is scanned again in float32."""
_BYTE = 255
"""Rows whose count a byte holds."""


@dataclass(frozen=True)
class Rows:
    """Embeddings, ready to be compared.

    Attributes:
        given: float32 or float64 `[n, d]`; exact cosines come from these.
        side: what is scanned.
    """

    given: Tensor
    side: Side

    @classmethod
    def prepare(cls, embeddings: Tensor, coarse: bool | None = None) -> Rows:
        """Any real `[n, d]`, dense, on the device that shall do the work.

        Args:
            coarse: whether scans may compute in bfloat16, which changes no result; by default, where that is faster.

        Raises:
            ValueError: a row is not finite, or its length is not, in float32; it is named.
        """
        if coarse is None:
            coarse = coarse_is_faster(embeddings)
        given = embeddings.to(torch.promote_types(torch.float32, embeddings.dtype))
        side = _KERNEL.prepare(given, coarse)
        bad = (~side.lengths.isfinite()).nonzero()
        if len(bad):
            raise ValueError(f"row {int(bad[0])} of the embeddings is not finite: it has no cosine with any other")
        return cls(given, side)

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, rows: slice) -> Rows:
        return Rows(self.given[rows], self.side[rows])

    def take(self, ids: np.ndarray) -> Rows:
        """The rows `ids`, int64 `[m]`, in their order."""
        return Rows.prepare(self._at(ids), self.side.coarse is not None)

    def cosines(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Of pairs of rows, int64 `[m]` each: float32 `[m]`; 0 where a row is all zeros."""
        return _cosines(self, self, self._on(first), self._on(second)).cpu().numpy()

    def fine(self) -> Rows:
        """Scanned in float32."""
        return Rows(self.given, self.side.fine())

    def _on(self, ids: np.ndarray) -> Tensor:
        return torch.from_numpy(ids).to(self.given.device)

    def _at(self, ids: np.ndarray) -> Tensor:
        return self.given.index_select(0, self._on(ids))


@dataclass(frozen=True)
class Neighbourhoods:
    """Lists of neighbours, one a centre.

    Attributes:
        offsets: int64 `[centres + 1]`, where the lists begin and end.
        ids: int64, of each list in rising order.
    """

    offsets: np.ndarray
    ids: np.ndarray

    def __getitem__(self, place: int) -> np.ndarray:
        return self.ids[self.offsets[place] : self.offsets[place + 1]]

    @classmethod
    def join(cls, parts: Sequence[tuple[int, Neighbourhoods]]) -> Neighbourhoods:
        """Lists of the same centres in several blocks of rows, with the id that each block's first row has; rising."""
        sizes = [np.diff(lists.offsets) for _, lists in parts]
        owners = np.concatenate([np.repeat(np.arange(len(size)), size) for size in sizes])
        ids = np.concatenate([lists.ids + first for first, lists in parts])
        return cls(_offsets(np.sum(sizes, axis=0)), ids[np.argsort(owners, kind="stable")])


def all_counts(
    rows: Rows, threshold: float, strip: int = STRIP, progress: Callable[[int], Any] = lambda rows: None
) -> np.ndarray:
    """For each of `rows` the number of them that are its neighbours, itself included: int64 `[n]`.

    Each unordered pair is scanned once. On CPUs, as many strips at a time as torch has threads: what follows a product
    takes one core only. Memory beside the rows: some tiles a thread.

    Args:
        threshold: cosines at or above it, as float32, are neighbours'.
        strip: rows of one matrix product; those of several threads are in memory at once.
        progress: called with a number of rows whenever so many are done.
    """
    counts = np.zeros(len(rows), np.int64)
    lock = threading.Lock()

    def count(start: int) -> None:
        here, rest = slice(start, start + strip), slice(start + strip, None)
        own, _ = neighbour_counts(rows[here], rows[here], threshold)
        ours, theirs = neighbour_counts(rows[here], rows[rest], threshold)
        with lock:
            counts[here] += own + ours
            counts[rest] += theirs
            progress(len(own))

    with strict_products(), single_threads(rows.given.is_cuda) as pool:
        for _ in pool.map(count, range(0, len(rows), strip)):
            pass
    return counts


def neighbour_counts(first: Rows, second: Rows, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of neighbours that each row of the one block has in the other: int64 `[len(first)]`, `[len(second)]`."""
    ours, theirs = np.zeros(len(first), np.int64), np.zeros(len(second), np.int64)
    with strict_products():
        tiles = _Tiles(first, second, threshold)
        for start in tiles.starts:
            by_row, by_column = _tally(tiles.neighbours(start))
            ours += by_row
            theirs[start : start + len(by_column)] = by_column
    return ours, theirs


def neighbourhoods(centres: Rows, rows: Rows, threshold: float) -> Neighbourhoods:
    """The neighbours that each of `centres` has among `rows`, by position."""
    found = [(0, Neighbourhoods(np.zeros(len(centres) + 1, np.int64), np.empty(0, np.int64)))]
    with strict_products():
        tiles = _Tiles(centres, rows, threshold)
        for start in tiles.starts:
            centre, row = (column.cpu().numpy() for column in _places(tiles.neighbours(start)))
            sizes = np.bincount(centre, minlength=len(centres))
            found.append((start, Neighbourhoods(_offsets(sizes), row)))
    return Neighbourhoods.join(found)


class _Tiles:
    """All pairs of two blocks, as many columns at a time as a processor's cache holds."""

    def __init__(self, first: Rows, second: Rows, threshold: float) -> None:
        self._first, self._second = first, second
        self._threshold = float(np.float32(threshold))
        self._width = TILE.get(first.given.device.type, TILE["cuda"])
        self._buffer = torch.empty(len(first), min(self._width, len(second)), device=first.given.device)

    @property
    def starts(self) -> range:
        """Of the tiles, columns that they begin with."""
        return range(0, len(self._second) if len(self._first) else 0, self._width)

    def neighbours(self, start: int) -> Tensor:
        """Whether the cosine of each pair of a tile reaches the threshold: bool `[q, width]`."""
        return self._decide(self._first, self._second[start : start + self._width])

    def _decide(self, first: Rows, second: Rows) -> Tensor:
        values = _KERNEL.scan(first.side, second.side, self._buffer if len(second) == self._buffer.shape[1] else None)
        low, high = self._doubt(first.side, second.side)
        sure = _compare(values, operator.gt, high)
        unsure = _compare(values, operator.ge, low) ^ sure
        row, column = _places(unsure)
        if first.side.coarse is not None and len(row) * _UNSURE > unsure.numel():
            return self._decide(first.fine(), second.fine())
        sure[row, column] = _cosines(first, second, row, column) >= self._threshold
        return sure

    def _doubt(self, first: Side, second: Side) -> tuple[float, float]:
        """Scan values below the one are of no neighbours, values above the other of neighbours."""
        scanned, exact = _KERNEL.error(first, second), _KERNEL.error(first.fine(), second.fine())
        error = float((scanned + exact).max())
        bounds = torch.tensor([self._threshold - error, self._threshold + error], dtype=torch.float64)
        low, high = rounded(bounds, first.coarse is not None).tolist()
        return low, high


@contextlib.contextmanager
def single_threads(is_cuda: bool) -> Iterator[ThreadPoolExecutor]:
    """Threads in which torch uses one core: as many as it has threads here, or one beside a GPU."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(1 if is_cuda else threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)  # for threads that begin later


def _cosines(first: Rows, second: Rows, one: Tensor, other: Tensor) -> Tensor:
    found = torch.empty(len(one), dtype=torch.float32, device=one.device)
    for start in range(0, len(one), _PAIRS):
        some = slice(start, start + _PAIRS)
        left, right = first.given.index_select(0, one[some]), second.given.index_select(0, other[some])
        found[some] = _KERNEL.exact(left, right, squares(left))
    return found


def _offsets(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


# On CPUs, NumPy is an order of magnitude faster than torch at what follows.


def _compare(values: Tensor, compare: Callable[[Any, Any], Any], bound: float) -> Tensor:
    if values.is_cuda:
        return compare(values, bound)
    return torch.from_numpy(compare(values.numpy(), np.float32(bound)))


def _places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns, int64 each, row after row."""
    flat = mask.flatten().nonzero()[:, 0] if mask.is_cuda else torch.from_numpy(np.flatnonzero(mask.numpy()))
    return flat // mask.shape[1], flat % mask.shape[1]


def _tally(mask: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """How many are true in each row, and in each column."""
    if mask.is_cuda:
        return mask.sum(dim=1).cpu().numpy(), mask.sum(dim=0).cpu().numpy()
    found = mask.numpy()
    groups = [found[start : start + _BYTE].view(np.uint8) for start in range(0, len(found), _BYTE)]
    columns = np.stack([group.sum(axis=0, dtype=np.uint8) for group in groups]).sum(axis=0, dtype=np.int64)
    return np.asarray(np.count_nonzero(found, axis=1)), columns
