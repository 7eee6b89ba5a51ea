"""The work on a shard of queries: put them to the actors, and make a part of what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from st_ray.runtime.pipeline import Row, task_of
from st_ray.runtime.report.scores import counted
from st_ray.runtime.search.base import QueryBlock
from st_ray.runtime.search.pool import SearchPool
from st_ray.scoring.topk import PADDING
from st_ray.store.hits import HitsFormat, hits_bytes, hits_table
from st_ray.store.output import Part
from st_ray.store.rejects import left_out

WITHOUT_HITS = "without_hits"
"""Figure of a part: queries that nothing was found for."""


@dataclass(frozen=True)
class Answer:
    """The hits of a shard of queries.

    Attributes:
        read: see `Queries`.
        multiplier: see `Ready`.
    """

    pool: SearchPool
    read: Callable[[Any], QueryBlock]
    top_k: int
    multiplier: int
    format: HitsFormat

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published."""
        block = self.read(task_of(row))
        wanted = self.top_k * max(1, self.multiplier)
        scores, positions = self.pool.search(block.asked, wanted, turn=row["shard"])
        if self.multiplier:
            scores, positions = self.pool.rescore(block.asked, positions, self.top_k)
        real = positions != PADDING
        counts, found = real.sum(axis=1), scores[real]
        table = hits_table(block.ids, counts, self.pool.ids(positions[real]), found)
        return Part(
            data=hits_bytes(table, self.format),
            rows=len(table),
            first_row=block.first_row,
            figures={"queries": len(counts), WITHOUT_HITS: int((counts == 0).sum())},
            scores=counted({"the best hit of each query": scores[counts > 0, 0], "all hits": found}),
            **left_out(block.rejects, row["name"]),
        )
