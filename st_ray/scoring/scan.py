"""The exact best k of a corpus for many queries, at nearly the price of the matrix product alone.

Scores are computed twice. A scan scores all pairs in tiles that stay in the processor's cache, by matrix products in
float32, or bfloat16 where the hardware has it, and keeps what may be among the best: whatever lies above a lower bound
of the k-th best score, less a bound of the scan's rounding error. Only these few are scored again, each pair by itself,
with sums in float64. So the result is that of the second kind of score alone. It depends neither on tiles and blocks
nor on how the corpus is cut, and equal rows have equal scores, so that ties go to the smaller id.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from st_ray.scoring.kernels import Kernel, Side, coarse_is_faster, kernel_of, rounded, spacing, squares, strict_products
from st_ray.scoring.similarity import Similarity
from st_ray.scoring.topk import PADDING, TopK

QUERIES = 1024
"""Queries of one matrix product."""
TILE = {"cpu": 2048, "cuda": 65536}
"""Corpus rows of one matrix product; beside 1,024 queries the scores take 8 MiB, which the last cache of CPUs holds."""
_PREPARED = 8192
"""Corpus rows that are prepared (see `Kernel.prepare`) at a time."""
_CHUNK = 64
"""Neighbouring scores of which first only the greatest is looked at."""
_SPREAD = 4
"""Chunks for each of the best k, before the k-th greatest of their maxima is taken for a bound."""
_OPENING = 4
"""Tiles that are kept whole until the first bound is known."""
_WAITING = 4
"""Candidates that may wait for their exact scores, in multiples of what is asked for."""
_PAIRS = 4096
"""Pairs that are scored exactly at a time."""
_COARSE_QUERIES = 64
"""For fewer queries, reading the corpus takes longer than the products."""


class Scan:
    """The best `k` rows for each of the queries, of blocks that come one after the other.

    Args:
        queries: `[q, d]` of any real dtype, finite, on the device that shall do the work.
        k: 1 or more.
        coarse: whether the scan may compute in bfloat16, which changes no result; by default, where that is faster.
    """

    def __init__(self, similarity: Similarity, queries: Tensor, k: int, *, coarse: bool | None = None) -> None:
        self._kernel = kernel_of(similarity)
        self._k = k
        self._coarse = coarse if coarse is not None else len(queries) >= _COARSE_QUERIES and coarse_is_faster(queries)
        parts = queries.split(QUERIES) if len(queries) else ()
        self._groups = [_Group(self._kernel, part, k, self._coarse) for part in parts]

    def absorb(self, rows: Tensor, first_id: int) -> None:
        """Add the candidates `first_id`, `first_id + 1`, ...: `[n, d]` of any real dtype, on the queries' device.

        Raises:
            ValueError: a score is not a number, since a row is not finite.
        """
        if not len(rows) or not self._groups:
            return
        with strict_products():
            for start in range(0, len(rows), _PREPARED):
                prepared = self._kernel.prepare(rows[start : start + _PREPARED], self._coarse)
                for group in self._groups:
                    group.scan(prepared, start)
                    if group.crowded:
                        group.settle(rows, first_id)
                        group.refine()
            for group in self._groups:
                group.settle(rows, first_id)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 and ids int64, `[q, k]`, best first; -inf and `PADDING` where there were fewer candidates."""
        if not self._groups:
            return np.empty((0, self._k), np.float32), np.empty((0, self._k), np.int64)
        scores, ids = zip(*(group.best.padded() for group in self._groups), strict=True)
        return np.concatenate(scores), np.concatenate(ids)


class _Group:
    """Up to `QUERIES` queries: their best rows so far, and candidates that wait for their exact scores."""

    def __init__(self, kernel: Kernel, queries: Tensor, k: int, coarse: bool) -> None:
        self.best = TopK(len(queries), k)
        self._kernel = kernel
        self._queries = queries
        self._side = kernel.prepare(queries, coarse)
        self._k = k
        # No scan value below it, error included, can be among the best k.
        self._floor = torch.full_like(self._side.lengths, -torch.inf)
        self._error = torch.zeros_like(self._floor)
        self._buffer: Tensor | None = None
        self._opening: list[tuple[Tensor, int]] = []
        self._begin()

    def _begin(self) -> None:
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []
        self._count = 0
        # Greatest values of chunks: the k-th greatest of them is a bound of the k-th best score.
        self._peaks: list[Tensor] = []
        self._unseen, self._seen = 0, 0

    @property
    def crowded(self) -> bool:
        """Whether more candidates wait than should."""
        return self._count > _WAITING * self._k * len(self._queries) + QUERIES * _CHUNK

    def scan(self, rows: Side, first: int) -> None:
        """Keep what of `rows` may be among the best; `first` is the number of the first one in its block."""
        self._error = torch.maximum(self._error, self._kernel.error(self._side, rows))
        tile = TILE.get(rows.vectors.device.type, TILE["cuda"])
        for start in range(0, len(rows.vectors), tile):
            part = rows[start : start + tile]
            if self._floor.isneginf().any():
                self._opening.append((self._kernel.scan(self._side, part, None), first + start))
                if len(self._opening) == _OPENING:
                    self._open()
            else:
                scores = self._kernel.scan(self._side, part, self._room(len(part.vectors)))
                self._peaks.append(self._collect(scores, first + start))
                self._unseen += len(part.vectors)
                if self._unseen >= self._seen // 2:
                    self._raise_floor(self._peaks)
        if self.crowded:
            self._sift()

    def settle(self, rows: Tensor, first_id: int) -> None:
        """Score the waiting candidates exactly and keep the best. `rows` is the block that they come from."""
        self._open()
        if self._waiting:
            self._sift()
            (query, row, _) = self._waiting[0]
            scores = self._exact(query, row, rows)
            found = _ragged(query.cpu().numpy(), scores.cpu().numpy(), row.cpu().numpy(), len(self._queries), self._k)
            self.best.merge(found[0], np.where(found[1] == PADDING, PADDING, found[1] + first_id))
            last = torch.from_numpy(self.best.padded()[0][:, -1].copy()).to(self._floor.device)
            known = self._kernel.to_scan(self._side, last)
            self._floor = torch.where(last.isneginf(), self._floor, torch.maximum(self._floor, known))
        self._begin()

    def refine(self) -> None:
        """Scan in float32 from here on: too many candidates lie within the error of a coarse scan."""
        self._side = self._side.fine()
        self._error = torch.zeros_like(self._error)

    @property
    def _least(self) -> Tensor:
        """The least scan value of a candidate, float32 `[q]`; more than that of padding."""
        least = rounded(self._floor - self._error, self._side.coarse is not None)
        return least.clamp(min=torch.finfo(torch.float32).min)

    def _room(self, columns: int) -> Tensor:
        if self._buffer is None or self._buffer.shape[1] != columns:
            self._buffer = torch.empty(len(self._queries), columns, device=self._floor.device)
        return self._buffer

    def _open(self) -> None:
        """Find a first bound from whole tiles, and collect from them."""
        tiles, self._opening = self._opening, []
        if not tiles:
            return
        chunk = _CHUNK
        while chunk > 1 and sum(scores.shape[1] // chunk for scores, _ in tiles) < _SPREAD * self._k:
            chunk //= 2
        self._unseen = sum(scores.shape[1] for scores, _ in tiles)
        self._raise_floor([_maxima(scores, chunk) for scores, _ in tiles])
        for scores, first in tiles:
            self._collect(scores, first)

    def _collect(self, scores: Tensor, first: int) -> Tensor:
        """Let those of a tile wait that may be among the best; returns the maxima of its chunks."""
        least = self._least
        chunks, maxima = _chunked(scores), _maxima(scores, _CHUNK)
        if maxima.isnan().any():
            raise ValueError("a score is not a number: a row of the corpus or a query is not finite")
        places = (maxima >= least[:, None]).flatten().nonzero()[:, 0]
        values = chunks.flatten(0, 1).index_select(0, places)
        query = places // maxima.shape[1]
        inner = (values >= least.index_select(0, query)[:, None]).flatten().nonzero()[:, 0]
        place = inner // _CHUNK
        row = first + (places % maxima.shape[1]).index_select(0, place) * _CHUNK + inner % _CHUNK
        self._waiting.append((query.index_select(0, place), row, values.flatten().index_select(0, inner)))
        self._count += len(inner)
        return maxima

    def _raise_floor(self, peaks: list[Tensor]) -> None:
        joined = torch.cat(peaks, dim=1)
        if joined.shape[1] >= self._k:
            joined = _greatest(joined, self._k)
            bound = joined.amin(dim=1).double()
            bound -= self._error + spacing(bound, self._side.coarse is not None)
            self._floor = torch.maximum(self._floor, bound)
        self._peaks, self._seen, self._unseen = [joined], self._seen + self._unseen, 0

    def _sift(self) -> None:
        """Drop candidates that a higher bound has overtaken."""
        query, row, value = (torch.cat(column) for column in zip(*self._waiting, strict=True))
        keep = value >= self._least.index_select(0, query)
        self._waiting = [(query[keep], row[keep], value[keep])]
        self._count = len(self._waiting[0][0])

    def _exact(self, query: Tensor, row: Tensor, rows: Tensor) -> Tensor:
        dtype = torch.promote_types(torch.float32, torch.promote_types(rows.dtype, self._queries.dtype))
        queries = self._queries.to(dtype)
        lengths = squares(queries)
        return torch.cat(
            [
                self._kernel.exact(
                    queries.index_select(0, q), rows.index_select(0, r).to(dtype), lengths.index_select(0, q)
                )
                for q, r in zip(query.split(_PAIRS), row.split(_PAIRS), strict=True)
            ]
        )


def _chunked(scores: Tensor) -> Tensor:
    """`[q, n]` as `[q, chunks, _CHUNK]`, filled up with what is below every score."""
    if scores.shape[1] % _CHUNK:
        scores = torch.nn.functional.pad(scores, (0, -scores.shape[1] % _CHUNK), value=-torch.inf)
    return scores.view(len(scores), -1, _CHUNK)


def _maxima(scores: Tensor, chunk: int) -> Tensor:
    """The greatest score of each `chunk` neighbouring ones, `[q, chunks]`; what is left over is a chunk too."""
    whole = scores.shape[1] // chunk * chunk
    parts = [scores[:, :whole].unflatten(1, (-1, chunk)).amax(dim=2)] if whole else []
    return torch.cat([*parts, *([scores[:, whole:].amax(dim=1, keepdim=True)] if whole < scores.shape[1] else [])], 1)


def _greatest(values: Tensor, k: int) -> Tensor:
    """The `k` greatest of each row, in any order."""
    if values.is_cuda:
        return values.topk(k, dim=1, sorted=False).values
    # An order of magnitude faster than torch's.
    return torch.from_numpy(np.partition(values.numpy(), values.shape[1] - k, axis=1)[:, -k:])


def _ragged(
    query: np.ndarray, scores: np.ndarray, ids: np.ndarray, queries: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best `k` of each query's candidates: scores and ids `[queries, k]`, `PADDING` where there are fewer.

    Candidates come in any number; those of one query in the order of their ids.
    """
    bits = scores.view(np.uint32)
    descending = np.where(bits >> 31, bits, ~bits & 0x7FFFFFFF).astype(np.uint64)  # an order of floats as of integers
    order = np.argsort((query.astype(np.uint64) << 32) | descending, kind="stable")
    query = query[order]
    rank = np.arange(len(query)) - np.searchsorted(query, np.arange(queries))[query]
    kept = rank < k
    best, best_ids = np.full((queries, k), -np.inf, np.float32), np.full((queries, k), PADDING, np.int64)
    best[query[kept], rank[kept]] = scores[order][kept]
    best_ids[query[kept], rank[kept]] = ids[order][kept]
    return best, best_ids
