"""A second, finer look at candidates: their embeddings as they are stored, against the queries as floats."""

from __future__ import annotations

import contextlib
import os
import tempfile

import numpy as np
import torch

from st_ray.scoring.kernels import kernel_of, squares
from st_ray.scoring.similarity import Similarity, similarity_of
from st_ray.scoring.topk import PADDING
from st_ray.scoring.vectors import StoredVectors

_PAIRS = 8192


class Rescorer:
    """Scores candidates among the rows `first` up to before `last` of a store.

    Candidates lie anywhere, and a Parquet file gives row groups only; so the rows are copied once, on first use, into a
    temporary file of this machine that is mapped into memory.

    Args:
        similarity: of float, int8 and uint8 stores. Bits are read as 0 and 1 and scored by their dot product with the
            query (Yamada et al. 2021, arXiv:2106.00882).
    """

    def __init__(self, store: StoredVectors, first: int, last: int, similarity: Similarity) -> None:
        self._store = store
        self._first, self._last = first, last
        self._kernel = kernel_of(similarity_of("dot") if store.is_binary else similarity)
        self._rows: np.ndarray | None = None

    def score(self, queries: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Scores float32 `[q, m]` of the rows at `positions` `[q, m]`; -inf for those that are not among ours.

        Args:
            queries: float32 `[q, d]`.

        Raises:
            InputError: a part of the store is missing or damaged.
        """
        query, column = np.nonzero((positions >= self._first) & (positions < self._last) & (positions != PADDING))
        scores = np.full(positions.shape, -np.inf, np.float32)
        floats = torch.from_numpy(np.array(queries, np.float32))
        lengths = squares(floats)
        for start in range(0, len(query), _PAIRS):
            q, c = query[start : start + _PAIRS], column[start : start + _PAIRS]
            rows = self._store.floats(self._local()[positions[q, c] - self._first])
            scores[q, c] = self._kernel.exact(floats[q], torch.from_numpy(rows), lengths[q]).numpy()
        return scores

    def _local(self) -> np.ndarray:
        if self._rows is None:
            self._rows = _mapped_copy(self._store, self._first, self._last)
        return self._rows


def _mapped_copy(store: StoredVectors, first: int, last: int) -> np.ndarray:
    descriptor, path = tempfile.mkstemp(prefix="st-ray-rows-")
    shape: tuple[int, ...] = (0, 0)
    dtype = np.dtype(np.float32)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for _, rows in store.blocks(first, last):
                shape, dtype = (last - first, rows.shape[1]), rows.dtype
                file.write(np.ascontiguousarray(rows).data)
        return np.memmap(path, dtype, "r", shape=shape) if all(shape) else np.empty(shape, dtype)
    finally:
        # The mapping keeps the content alive; nothing is left behind, however the process ends.
        with contextlib.suppress(OSError):
            os.unlink(path)
