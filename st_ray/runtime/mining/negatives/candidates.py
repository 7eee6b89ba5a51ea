"""The step behind the search: each anchor's positives and candidates as hits, whatever the thresholds.

A part's columns, beside those of hits: `positive`, and `reach` (int32), the least --range-max for which a document is
among the candidates; `NEVER` for positives that the search did not find. An anchor's positives stand first, in the
order of their appearance; then its candidates, best first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from st_ray.mining.closest import pair_scores
from st_ray.runtime.meter import Meter
from st_ray.runtime.mining.negatives.pairs import find_pairs
from st_ray.runtime.mining.negatives.steps import make_once, one_step
from st_ray.runtime.mining.negatives.stored import StoredTexts
from st_ray.runtime.stage import Stage
from st_ray.scoring.similarity import Similarity
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.hits import KIND, hits_bytes, hits_table, open_hits, read_hits
from st_ray.store.lineage import lineage_digest
from st_ray.store.manifest import Manifest, ShardEntry
from st_ray.store.output import Part

NEVER = np.iinfo(np.int32).max
_PAIRS = 1 << 16
"""Positives whose embeddings are in memory at once."""


@dataclass(frozen=True)
class Searched:
    """What candidates are made from.

    Attributes:
        hits: folder of what the search found, anchor by anchor.
        anchors_of_a_part: anchors of a part of hits; the last one may have fewer.
        documents: embeddings of the corpus.
        queries: embeddings of the anchors.
    """

    hits: str
    anchors_of_a_part: int
    corpus: StoredTexts
    anchors: StoredTexts
    documents: StoredVectors
    queries: StoredVectors
    similarity: Similarity

    @property
    def digest(self) -> str:
        """Changes with anything that the candidates depend on."""
        parts = [entry.digest for entry in (*open_hits(self.hits).entries, *self.anchors.entries)]
        return lineage_digest({"parts": parts, "stores": [self.documents.digest, self.queries.digest]})

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The anchors of each part of hits."""
        step, rows = self.anchors_of_a_part, self.anchors.rows
        return [(first, min(first + step, rows)) for first in range(0, rows, step)]


def prepare_candidates(searched: Searched, folder: str, start_ray: Callable[[], None], actors: str) -> Manifest:
    """Make the candidates, unless that is done; they are a folder of hits. See `make_once`."""
    ranges = searched.ranges

    def stage(meter: Meter) -> Stage:
        return one_step(
            "candidates",
            list(zip(open_hits(searched.hits).entries, ranges, strict=True)),
            [last - first for first, last in ranges],
            CollectCandidates(searched),
            meter,
            noun="queries",
            describe=lambda task: f"queries {task[1][0]:,} to {task[1][1] - 1:,}",
            actors=actors,
        )

    lineage = {"searched": searched.digest, "similarity": searched.similarity.name}
    return make_once(folder, KIND, lineage, start_ray, stage)


@dataclass(frozen=True)
class CollectCandidates:
    """Makes a part of candidates of a part of hits."""

    searched: Searched

    def __call__(self, task: tuple[ShardEntry, tuple[int, int]]) -> Part:
        """The part, ready to be published. Raises InputError where something that it is made from is damaged."""
        entry, (first, last) = task
        anchors = self.searched.anchors.columns(["id", "positives", "own_text"], first, last)
        hits = read_hits(self.searched.hits, entry)
        ids, own = anchors["id"].to_numpy(), anchors["own_text"].fill_null(-1).to_numpy()
        counts = np.asarray(anchors["positives"].combine_chunks().value_lengths(), np.int64)
        positives = anchors["positives"].combine_chunks().flatten().to_numpy()
        positive_of = np.repeat(np.arange(len(ids)), counts)
        scores = self._positive_scores(first, last, positive_of, positives)

        query = np.searchsorted(ids, hits["query_id"].cast(pa.int64()).to_numpy())
        document = hits["corpus_id"].cast(pa.int64()).to_numpy()
        place = find_pairs(query, document, positive_of, positives)
        # As many more were searched for as are out of the question: own positives, and own text.
        alone = (own >= 0) & (find_pairs(np.arange(len(ids)), own, positive_of, positives) < 0)
        reach = (hits["rank"].to_numpy() - (counts + alone)[query]).astype(np.int32)
        found = np.full(len(positives), NEVER, np.int32)
        found[place[place >= 0]] = reach[place >= 0]
        free = (place < 0) & (document != own[query])

        query = np.concatenate([positive_of, query[free]])
        order = np.argsort(query, kind="stable")
        table = hits_table(
            anchors["id"].combine_chunks(),
            np.bincount(query, minlength=len(ids)),
            pa.array(np.concatenate([positives, document[free]])[order]),
            np.concatenate([scores, hits["score"].to_numpy()[free]])[order],
        )
        table = table.append_column("positive", pa.array(order < len(positives)))
        table = table.append_column("reach", pa.array(np.concatenate([found, reach[free]])[order]))
        return Part(hits_bytes(table, "parquet"), len(table), first)

    def _positive_scores(self, first: int, last: int, query: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Those of the search, for each pair of a query, counted from `first`, and one of its positives."""
        searched = self.searched
        queries = np.concatenate([searched.queries.floats(rows) for _, rows in searched.queries.blocks(first, last)])
        positions = searched.corpus.positions(ids)
        scores = np.empty(len(ids), np.float32)
        for start in range(0, len(ids), _PAIRS):
            some = slice(start, start + _PAIRS)
            distinct, document = np.unique(positions[some], return_inverse=True)
            rows = searched.documents.floats(searched.documents.take(distinct))
            sides = torch.from_numpy(queries), torch.from_numpy(rows)
            scores[some] = pair_scores(*sides, searched.similarity, query[some], document)
        return scores
