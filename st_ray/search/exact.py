"""Exact search over an embedding store: every row is scored, and memory holds some row groups of it at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from st_ray.core.errors import InputError
from st_ray.scoring.quantization import quantize_embeddings
from st_ray.scoring.scan import Scan
from st_ray.scoring.similarity import Similarity
from st_ray.scoring.topk import TopK
from st_ray.scoring.vectors import StoredVectors

BLOCK_ROWS = 65_536
"""Rows that are scanned between two times that candidates are scored exactly."""
_BLOCK_OF_FEW = 16_384
_FEW_QUERIES = 2048
"""Of so many, reading and joining the rows takes as long as scoring them: shorter blocks touch less fresh memory."""


class ExactSearcher:
    """Searches the rows `first` up to before `last` of a store.

    Rows are kept in memory as they are stored, from the first search on, as far as `keep_bytes` allows; the others are
    read anew for every search.

    Args:
        similarity: of float, int8 and uint8 stores, the latter two as the floats that they stand for; rows of bits are
            compared by their negated Hamming distance.
        device: where to compute: `cpu` or `cuda`.
        on_rows: called with the count of rows after each step.
    """

    def __init__(
        self,
        store: StoredVectors,
        first: int,
        last: int,
        similarity: Similarity,
        *,
        keep_bytes: int = 0,
        device: str = "cpu",
        on_rows: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._store = store
        self._first, self._last = first, last
        self._similarity = similarity
        self._keep_bytes = keep_bytes
        self._device = device
        self._on_rows = on_rows
        self._kept: list[tuple[int, np.ndarray]] = []

    def search(self, queries: np.ndarray, k: int, parameter: None = None) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` rows for each query.

        Args:
            queries: float32 `[q, d]`.
            parameter: exact search has none.

        Returns:
            scores float32 and positions int64, `[q, k]`, best first, ties by smaller position; -inf and `PADDING` where
            there are fewer rows.

        Raises:
            InputError: a part of the store is missing or damaged, or holds numbers that are not finite.
        """
        if self._store.is_binary:
            return self._search_bits(queries, k)
        scan = Scan(self._similarity, torch.from_numpy(np.array(queries)).to(self._device), k)
        few = self._device == "cpu" and len(queries) <= _FEW_QUERIES
        for position, rows in self._gathered(_BLOCK_OF_FEW if few else BLOCK_ROWS):
            try:
                scan.absorb(torch.from_numpy(rows).to(self._device), position)
            except ValueError as error:
                raise InputError(
                    f"{self._store.folder}, rows {position:,} to {position + len(rows) - 1:,}: {error}",
                    "encode them again",
                ) from error
            self._on_rows(len(rows))
        return scan.finish()

    def _search_bits(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        codes = np.asarray(quantize_embeddings(queries, "ubinary"))
        best = TopK(len(queries), k)
        for position, rows in self._gathered(BLOCK_ROWS):
            distances, found = faiss.knn_hamming(codes, rows, min(k, len(rows)))
            best.merge(-distances.astype(np.float32), found.astype(np.int64) + position)
            self._on_rows(len(rows))
        return best.padded()

    def _gathered(self, block_rows: int) -> Iterator[tuple[int, np.ndarray]]:
        """Row groups that lie side by side, joined up to `block_rows`, and as the floats that they stand for."""
        waiting: list[np.ndarray] = []
        first = count = 0
        for position, rows in self._blocks():
            if count and (position != first + count or count + len(rows) > block_rows):
                yield first, np.concatenate(waiting)
                waiting, count = [], 0
            first = position if not count else first
            waiting.append(self._decoded(rows))
            count += len(rows)
        if count:
            yield first, np.concatenate(waiting)

    def _decoded(self, rows: np.ndarray) -> np.ndarray:
        # Half precision widens tile by tile in the scan.
        return self._store.floats(rows) if self._store.precision in ("int8", "uint8") else rows

    def _blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        yield from self._kept
        done = self._kept[-1][0] + len(self._kept[-1][1]) if self._kept else self._first
        kept = sum(rows.nbytes for _, rows in self._kept)
        for position, rows in self._store.blocks(done, self._last):
            if kept + rows.nbytes <= self._keep_bytes:
                self._kept.append((position, np.ascontiguousarray(rows)))
            kept += rows.nbytes
            yield position, rows
