"""What the tasks do: look at rows, find their neighbours, choose pairs among the candidates, and write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from st_ray.mining.bitext import BitextPairs, margin_pairs, mean_similarity, retrieve
from st_ray.runtime.mining.bitext.staging import (
    nearest_bytes,
    pairs_bytes,
    read_means,
    read_nearest,
    read_pairs,
)
from st_ray.runtime.pipeline import Row, task_of
from st_ray.runtime.search.pool import SearchPool
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.embeddings import parquet_bytes
from st_ray.store.output import Part
from st_ray.store.pairs import pairs_table

_NO_PAIRS = BitextPairs(np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True)
class FindNearest:
    """The neighbours of a range of rows of `store`: the k nearest of what `pool` holds."""

    pool: SearchPool
    store: StoredVectors
    k: int

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published."""
        first, last = task_of(row)
        asked = np.concatenate([self.store.floats(rows) for _, rows in self.store.blocks(first, last)])
        scores, neighbors = self.pool.search(asked, self.k)
        return Part(nearest_bytes(scores, neighbors, mean_similarity(scores)), last - first, first)


@dataclass(frozen=True)
class ChoosePairs:
    """All pairs, best first, those below the threshold too. They come of one task, since any may exclude any other.

    Memory: 4 bytes for the mean of each row of both sides, and for the candidates, of which each row has one at most,
    and their order about 100 bytes a row.

    Attributes:
        forward: files of the neighbours of all source rows, in order.
        backward: of all target rows.
        threshold: see `retrieve`.
        batch_rows: pairs that can be read by themselves.
    """

    forward: Sequence[str]
    backward: Sequence[str]
    margin: str
    retrieval: str
    threshold: float | None
    batch_rows: int

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published; its figures count candidates and what the threshold keeps."""
        means = [np.concatenate([_NO_PAIRS.margin, *map(read_means, urls)]) for urls in (self.forward, self.backward)]
        forward = self._candidates(self.forward, *means)
        backward = self._candidates(self.backward, *means[::-1]).flipped()
        mutual = len(retrieve(forward, backward, retrieval="intersection"))
        # A threshold cuts off the end: it changes no choice among the pairs above it.
        pairs = retrieve(forward, backward, retrieval=self.retrieval)
        below = 0 if self.threshold is None else int((pairs.margin < self.threshold).sum())
        figures = {
            "forward": len(forward),
            "backward": len(backward),
            "mutual": mutual,
            "kept": len(pairs) - below,
            "below": below,
        }
        return Part(pairs_bytes(pairs, self.batch_rows), len(pairs), 0, figures=figures)

    def _candidates(self, urls: Sequence[str], means: np.ndarray, other_means: np.ndarray) -> BitextPairs:
        found, first = [_NO_PAIRS], 0
        for url in urls:
            scores, neighbors = read_nearest(url)
            own = means[first : first + len(scores)]
            found.append(margin_pairs(scores, neighbors, own, other_means, margin=self.margin, first=first))
            first += len(scores)
        return BitextPairs.joined(found)


@dataclass(frozen=True)
class WritePairs:
    """A range of the chosen pairs, with ids and, where asked for, texts.

    They lie anywhere, so that these columns of both stores are read for each part; the search has read all their
    embeddings for each shard.

    Attributes:
        chosen: file of all pairs; its record batches hold as many as a part.
    """

    source: StoredVectors
    target: StoredVectors
    chosen: str
    keep_text: bool

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published. Raises InputError where a part of a store is missing or damaged."""
        number, first, last = task_of(row)
        pairs = read_pairs(self.chosen, number)[np.arange(last - first)]
        names = ["id", "text"] if self.keep_text else ["id"]
        source = self.source.columns_at(names, pairs.source)
        target = self.target.columns_at(names, pairs.target)
        table = pairs_table(source, target, pa.array(pairs.margin))
        return Part(parquet_bytes(table), last - first, first)
