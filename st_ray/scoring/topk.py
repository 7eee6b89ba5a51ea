"""The best k of a stream of scored blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PADDING = -1
"""Id of an empty place while a list is still short; it never leaves as a hit."""


class TopK:
    """Absorbs blocks of scores, higher is better, and keeps the best `k` for each of `queries` rows.

    The order is score best-first, then smaller id, so the result does not depend on how the corpus was cut.
    """

    def __init__(self, queries: int, k: int) -> None:
        if k < 1:
            raise ValueError(f"k must be 1 or more, not {k}")
        self._k = k
        self._scores = np.full((queries, 0), -np.inf, np.float32)
        self._ids = np.full((queries, 0), PADDING, np.int64)

    def absorb(self, scores: np.ndarray, first_id: int) -> None:
        """Add `scores` float32 `[queries, n]` of the candidates `first_id .. first_id + n - 1`."""
        ids = np.broadcast_to(np.arange(first_id, first_id + scores.shape[1], dtype=np.int64), scores.shape)
        self.merge(scores, ids)

    def merge(self, scores: np.ndarray, ids: np.ndarray) -> None:
        """Add candidates with ids of their own, both `[queries, n]`; `PADDING` ids are ignored."""
        block_scores, block_ids = _best(np.where(ids == PADDING, -np.inf, scores).astype(np.float32), ids, self._k)
        self._scores, self._ids = _best(
            np.concatenate([self._scores, block_scores], axis=1),
            np.concatenate([self._ids, block_ids], axis=1),
            self._k,
        )

    def padded(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 and ids int64, `[queries, k]`, best first; -inf and `PADDING` where candidates were fewer."""
        short = self._k - self._ids.shape[1]
        room = ((0, 0), (0, max(0, short)))
        return np.pad(self._scores, room, constant_values=-np.inf), np.pad(self._ids, room, constant_values=PADDING)


def merged(found: Sequence[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The best `k` of several results, each padded and in order as `TopK.padded` gives it, as one of the same kind."""
    if len(found) == 1:
        return found[0]
    best = TopK(len(found[0][0]), k)
    for scores, ids in found:
        best.merge(scores, ids)
    return best.padded()


def _best(scores: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The best `k` columns of each row, in order."""
    rows, columns = scores.shape
    if columns > k:
        threshold = np.partition(scores, columns - k, axis=1)[:, columns - k]
        keep = scores >= threshold[:, None]
        for row in np.flatnonzero(keep.sum(axis=1) > k):
            # More candidates at the k-th score than there is room for: the smaller ids stay.
            ties = np.flatnonzero(scores[row] == threshold[row])
            excess = np.count_nonzero(keep[row]) - k
            keep[row, ties[np.argsort(ids[row, ties])[len(ties) - excess :]]] = False
        scores, ids = scores[keep].reshape(rows, k), ids[keep].reshape(rows, k)
    order = np.lexsort((ids, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)
