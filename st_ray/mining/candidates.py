"""Who may become a negative of whom: texts as integers, and the documents that are out of the question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class QueryGroups:
    """Distinct queries with their positives, and distinct documents, all by position.

    Attributes:
        queries: large_string `[q]`, by first appearance.
        documents: large_string `[n]`: the corpus, then positives that it does not hold; by first appearance.
        query: int64 `[p]`, ascending, of each distinct pair of a query and one of its positives.
        positive: int64 `[p]`, the document of each such pair; those of one query by first appearance.
        own_text: int64 `[q]`, the document that is the query's own text; -1 where there is none.
        added: documents that were added to a given corpus.
    """

    queries: pa.LargeStringArray
    documents: pa.LargeStringArray
    query: np.ndarray
    positive: np.ndarray
    own_text: np.ndarray
    added: int

    @property
    def positives(self) -> np.ndarray:
        """How many positives each query has, int64 `[q]`."""
        return np.bincount(self.query, minlength=len(self.queries))

    def keys(self, query: np.ndarray, document: np.ndarray) -> np.ndarray:
        """Pairs of positions as one number each, int64 `[m]`."""
        return query * len(self.documents) + document


@dataclass(frozen=True)
class Candidates:
    """Documents that may become negatives of a query, as columns of one length.

    Attributes:
        query: int64 `[m]`, ascending.
        document: int64 `[m]`.
        scores: float32 `[m]`.
    """

    query: np.ndarray
    document: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.query)

    def __getitem__(self, rows: np.ndarray) -> Candidates:
        return Candidates(self.query[rows], self.document[rows], self.scores[rows])

    def best_first(self) -> Candidates:
        """By query, then falling score, then smaller document."""
        return self[np.lexsort((self.document, -self.scores, self.query))]

    def ranks(self) -> np.ndarray:
        """Place of each among those of its query as they stand, from 0, int64 `[m]`."""
        return places(self.query)


def group(
    anchors: pa.LargeStringArray, positives: pa.LargeStringArray, corpus: pa.LargeStringArray | None = None
) -> QueryGroups:
    """Rows of one anchor and one positive each, `[r]`, as distinct queries with their distinct positives.

    Args:
        corpus: documents besides the positives; none of the three has nulls.
    """
    given = pc.unique(positives if corpus is None else corpus)
    documents = pc.unique(pa.concat_arrays([given, positives]))
    queries = pc.unique(anchors)
    query, positive = _positions(anchors, queries), _positions(positives, documents)
    _, first = np.unique(query * len(documents) + positive, return_index=True)
    first = first[np.lexsort((first, query[first]))]
    own_text = _positions(queries, documents)
    return QueryGroups(queries, documents, query[first], positive[first], own_text, len(documents) - len(given))


def left_out(groups: QueryGroups, include_positives: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The documents that cannot be candidates: a query's positives, and its own text.

    Returns:
        Their keys (see `QueryGroups.keys`), int64, ascending, without the positives if these are to be included; and
        how many positives and own texts each query has in any case, int64 `[q]`.
    """
    own = np.flatnonzero(groups.own_text >= 0)
    own_keys = groups.keys(own, groups.own_text[own])
    positive_keys = groups.keys(groups.query, groups.positive)
    every = np.union1d(own_keys, positive_keys)
    counts = np.bincount(every // len(groups.documents), minlength=len(groups.queries))
    return (np.setdiff1d(own_keys, positive_keys) if include_positives else every), counts


def without(candidates: Candidates, groups: QueryGroups, keys: np.ndarray) -> Candidates:
    """The candidates whose keys are not among `keys`, int64, ascending."""
    if not len(keys):
        return candidates
    found = groups.keys(candidates.query, candidates.document)
    place = np.minimum(np.searchsorted(keys, found), len(keys) - 1)
    return candidates[keys[place] != found]


def places(groups: np.ndarray) -> np.ndarray:
    """Position of each row within its run of equal values, int64 `[m]`."""
    begins = np.flatnonzero(np.diff(groups, prepend=groups[:1] - 1))
    return np.arange(len(groups)) - np.repeat(begins, np.diff(begins, append=len(groups)))


def _positions(texts: pa.LargeStringArray, among: pa.LargeStringArray) -> np.ndarray:
    """Where each of `texts` is, int64; -1 where it is not."""
    return pc.index_in(texts, value_set=among).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
