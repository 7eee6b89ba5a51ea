"""Scores of a cross-encoder: those that are there already, and the pairs that still have none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from st_ray.runtime.meter import Meter
from st_ray.runtime.mining.negatives.pairs import PairRows, find_pairs, read_pair_rows
from st_ray.runtime.mining.negatives.steps import make_once, one_step
from st_ray.runtime.rerank.pairs import PairFolder, read_pairs
from st_ray.runtime.stage import Stage
from st_ray.store.hits import KIND, hits_bytes, hits_table
from st_ray.store.manifest import Manifest, ShardEntry, content_digest
from st_ray.store.output import Part


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs that were scored.

    Attributes:
        firsts: of each part that was to be scored, the first query.
        pairs: of each such part.
        scores: the scores of all of them, query by query, in parts of another cut.
    """

    firsts: tuple[int, ...]
    pairs: tuple[int, ...]
    scores: PairFolder

    @classmethod
    def of(cls, asked: Manifest, scored: Manifest, folder: str) -> ScoredPairs:
        """What `scored`, in `folder`, holds of the pairs of `asked`."""
        firsts, pairs = zip(*((entry.first_row, entry.rows) for entry in asked.entries), strict=True)
        return cls(firsts, pairs, PairFolder(folder, scored.entries, "the scores"))

    @property
    def digest(self) -> str:
        """Of the content."""
        return content_digest("".join(entry.digest for entry in self.scores.entries).encode())

    def look_up(self, wanted: PairRows, first: int) -> np.ndarray:
        """The scores of pairs, float32 `[n]`, NaN where there is none.

        Args:
            wanted: by rising ids of queries, whose numbers count from `first`.

        Raises:
            InputError: a part of the scores is missing or damaged.
        """
        scores = np.full(len(wanted.query), np.nan, np.float32)
        low = max(int(np.searchsorted(self.firsts, first, side="right")) - 1, 0)
        high = int(np.searchsorted(self.firsts, first + len(wanted.query_ids), side="left"))
        begin, end = sum(self.pairs[:low]), sum(self.pairs[:high])
        if begin == end:
            return scores
        found = read_pairs(self.scores.rows(begin, end))
        ids = found.query_ids.to_numpy(zero_copy_only=False)
        place = np.minimum(np.searchsorted(wanted.query_ids, ids), len(wanted.query_ids) - 1)
        query = np.repeat(np.where(wanted.query_ids[place] == ids, place, -1), found.counts)
        here = query >= 0
        at = find_pairs(wanted.query, wanted.document, query[here], found.corpus_ids.to_numpy()[here])
        scores[at >= 0] = found.scores[here][at[at >= 0]]
        return scores


def known_scores(scored: Sequence[ScoredPairs], wanted: PairRows, first: int) -> np.ndarray:
    """What any of them has of the scores of pairs: see `ScoredPairs.look_up`."""
    scores = np.full(len(wanted.query), np.nan, np.float32)
    for some in scored:
        found = some.look_up(wanted, first)
        scores = np.where(np.isnan(scores), found, scores)
    return scores


def prepare_unscored(
    candidates: str,
    parts: Manifest,
    scored: Sequence[ScoredPairs],
    folder: str,
    start_ray: Callable[[], None],
    actors: str,
) -> Manifest:
    """Make a folder of hits of the candidates that have no score, unless that is done. See `make_once`.

    Args:
        candidates: their folder.
    """

    def stage(meter: Meter) -> Stage:
        return one_step(
            "pairs without a score",
            parts.entries,
            [entry.rows for entry in parts.entries],
            CollectUnscored(candidates, tuple(scored)),
            meter,
            noun="pairs",
            describe=lambda entry: f"candidates of queries from {entry.first_row:,} on",
            actors=actors,
        )

    lineage = {"candidates": [entry.digest for entry in parts.entries], "scored": [some.digest for some in scored]}
    return make_once(folder, KIND, lineage, start_ray, stage)


@dataclass(frozen=True)
class CollectUnscored:
    """Makes a part of pairs without a score of a part of candidates."""

    candidates: str
    scored: tuple[ScoredPairs, ...]

    def __call__(self, entry: ShardEntry) -> Part:
        """The part, ready to be published. Raises InputError where something that it is made from is damaged."""
        pairs = read_pair_rows(self.candidates, entry)
        rows = np.flatnonzero(np.isnan(known_scores(self.scored, pairs, entry.first_row)))
        table = hits_table(
            pa.array(pairs.query_ids),
            np.bincount(pairs.query[rows], minlength=len(pairs.query_ids)),
            pa.array(pairs.document[rows]),
            pairs.scores[rows],
        )
        return Part(hits_bytes(table, "parquet"), len(table), entry.first_row)
