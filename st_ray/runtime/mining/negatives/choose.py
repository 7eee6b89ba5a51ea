"""The first step of the result: of each anchor's candidates, those that the rules leave, beside its positives.

A part is one of hits with the column `role`: `POSITIVE`, `NEGATIVE`, or both at once. Positives stand as the candidates
have them; where a cross-encoder has scored, scores are its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from st_ray.core.errors import InputError
from st_ray.mining.candidates import Candidates
from st_ray.mining.rules import Rules, least_scores, select
from st_ray.runtime.mining.negatives.pairs import PairRows, find_pairs, read_pair_rows
from st_ray.runtime.mining.negatives.scores import ScoredPairs, known_scores
from st_ray.runtime.mining.negatives.stored import StoredTexts
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.hits import hits_bytes, hits_table
from st_ray.store.join import digest_keys
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import Part

POSITIVE, NEGATIVE = 1, 2
DROPPED = "dropped by "
"""What the figures of filters begin with."""


@dataclass(frozen=True)
class TextCodes:
    """What texts a random sample is drawn by: numbers that the digests of stored texts begin with."""

    corpus: StoredTexts
    documents: StoredVectors
    queries: StoredVectors

    def of(self, first: int, query: np.ndarray, document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `text_codes`; uint64 `[m]` each.

        Args:
            first: number of the first query, from which `query` counts.
            document: ids.
        """
        return _codes(self.queries, first + query), _codes(self.documents, self.corpus.positions(document))


def _codes(store: StoredVectors, positions: np.ndarray) -> np.ndarray:
    if not len(positions):
        return np.empty(0, np.uint64)
    digests = store.columns_at(["text_digest"], positions)["text_digest"].combine_chunks()
    return digest_keys(digests)[:, 0]


@dataclass(frozen=True)
class ChooseNegatives:
    """Makes a part of chosen pairs of a part of candidates.

    Attributes:
        candidates: the folder.
        scored: the same pairs with the cross-encoder's scores; none without one.
        codes: what a random sample is drawn by.
    """

    candidates: str
    scored: tuple[ScoredPairs, ...]
    rules: Rules
    codes: TextCodes

    def __call__(self, entry: ShardEntry) -> Part:
        """The part, ready to be published. Raises InputError where something that it is made from is damaged."""
        pairs = read_pair_rows(self.candidates, entry)
        scores = self._scores(pairs, entry) if self.scored else pairs.scores
        positive, reach = pairs.columns["positive"], pairs.columns["reach"]
        bases = least_scores(pairs.query[positive], scores[positive], len(pairs.query_ids))
        looked_at = (reach <= self.rules.range_max) & (~positive | self.rules.include_positives)
        candidates = Candidates(pairs.query, pairs.document, scores)[looked_at].best_first()

        def codes(pool: Candidates) -> tuple[np.ndarray, np.ndarray]:
            return self.codes.of(entry.first_row, pool.query, pool.document)

        negatives, dropped = select(candidates, bases, self.rules, codes)
        role = POSITIVE * positive.astype(np.int8)
        role[find_pairs(negatives.query, negatives.document, pairs.query, pairs.document)] |= NEGATIVE
        kept = np.flatnonzero(role)
        table = hits_table(
            pa.array(pairs.query_ids),
            np.bincount(pairs.query[kept], minlength=len(pairs.query_ids)),
            pa.array(pairs.document[kept]),
            scores[kept],
        ).append_column("role", pa.array(role[kept]))
        found = np.bincount(negatives.query, minlength=len(pairs.query_ids))
        figures = {
            "queries": len(pairs.query_ids),
            "complete": int((found == self.rules.num_negatives).sum()),
            "without": int((found == 0).sum()),
            "pairs": int(positive.sum()),
            "candidates": len(candidates),
            "negatives": len(negatives),
            **{DROPPED + part.name: part.count for part in dropped},
        }
        return Part(hits_bytes(table, "parquet"), len(table), entry.first_row, figures=figures)

    def _scores(self, pairs: PairRows, entry: ShardEntry) -> np.ndarray:
        scores = known_scores(self.scored, pairs, entry.first_row)
        if np.isnan(scores).any():
            raise InputError(f"pairs of {self.candidates} have no score", "name another --work")
        return scores
