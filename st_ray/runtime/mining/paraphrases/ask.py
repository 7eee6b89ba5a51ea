"""Pairs by an index: every row is asked for its neighbours, whose scores are then computed exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from st_ray.core.pairs import Pairs, canonical
from st_ray.runtime.mining.paraphrases.pick import picked_part
from st_ray.runtime.mining.paraphrases.staged import in_order
from st_ray.runtime.pipeline import Row, task_of
from st_ray.runtime.search.pool import SearchPool
from st_ray.scoring.topk import PADDING
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.output import Part

ASKED_ROWS = 8192
"""Rows of a task."""
_MORE = 16
_MORE_SHARE = 4
"""Beside a row itself: that many more neighbours than needed, and one for each so many, since an index rounds."""


@dataclass(frozen=True)
class Ask:
    """Asks an index for the neighbours of a range of rows: a task is its first row and the one after its last."""

    store: StoredVectors
    pool: SearchPool
    top_k: int

    def __call__(self, row: Row) -> Part:
        """The part: the pairs that these rows pick, in order. Raises what the index's actors raise."""
        first, last = task_of(row)
        asked = self.store.floats(self.store.take(np.arange(first, last)))
        wanted = min(self.top_k + 1 + _MORE + self.top_k // _MORE_SHARE, self.store.rows)
        positions = self.pool.search(asked, wanted, turn=row["shard"])[1]
        own = np.arange(first, last)
        positions = np.where(positions == own[:, None], PADDING, positions)
        scores, positions = self.pool.rescore(asked, positions, self.top_k)
        return picked_part(in_order(neighbour_pairs(own, scores, positions)), first)


def neighbour_pairs(rows: np.ndarray, scores: np.ndarray, positions: np.ndarray) -> Pairs:
    """The pairs of the `[q]` rows with their neighbours, `[q, k]` of each; a pair that two rows have is there twice."""
    found = positions != PADDING
    return canonical(np.broadcast_to(rows[:, None], found.shape)[found], positions[found], scores[found])
