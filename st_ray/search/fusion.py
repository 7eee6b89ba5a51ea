"""Rank fusion: the hits of several sets for the same queries become one list a query, by their ranks or their scores.

A document's score is a sum over the sets that have it for the query; a set without it adds nothing. Sums are taken in
float64, in the order of the sets, and stored as float32. Order: best sum first (as float64), then the better best
single rank, then the smaller id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_ray.core.errors import InputError
from st_ray.store.hits import hits_table

FusionMethod = Literal["rrf", "weighted"]
Normalization = Literal["min-max", "none"]

ID_COLUMNS = ("query_id", "corpus_id")


@dataclass(frozen=True)
class Fusion:
    """How the hits of several sets become one score.

    Attributes:
        method: `rrf`: the sum of weight / (rrf_k + rank), reciprocal-rank fusion (Cormack, Clarke and Büttcher 2009).
            `weighted`: the sum of weight x score.
        weights: one a set.
        rrf_k: the larger, the less the first ranks stand out.
        normalize: what `weighted` makes of a query's scores in a set first. `min-max`: the best becomes 1 and the
            worst 0; all become 1 where all are the same. `none`: nothing.
        top_k: hits to keep for each query; None for all.
    """

    method: FusionMethod
    weights: tuple[float, ...]
    rrf_k: int = 60
    normalize: Normalization = "min-max"
    top_k: int | None = None


@dataclass(frozen=True, eq=False)
class FusedHits:
    """The fused hits, with what can be said of the sets.

    Attributes:
        table: the hits, as `store.hits.hits_table` makes them. Queries in the order of the first set, those that only
            later sets have behind them.
        queries: how many.
        found_by: `[s]` hits of the table that 1, 2, … of the s sets have.
        missing: `[s]` queries that each set lacks.
        shared: `[s]` queries of each set that another one has, too.
    """

    table: pa.Table
    queries: int
    found_by: np.ndarray
    missing: np.ndarray
    shared: np.ndarray


def fuse_hits(sets: Mapping[str, pa.Table], fusion: Fusion) -> FusedHits:
    """Fuse sets of hits.

    Args:
        sets: the hits of each set, by its name: columns query_id, corpus_id, rank and score, rows in any order, all
            hits of a query. Ids that are strings in one set are compared as strings in all.
        fusion: the method; a weight for each set.

    Raises:
        InputError: a set has a document, or a rank, twice for a query; or scores to be weighted that are not finite.
    """
    rows = _Rows.of(sets)
    values = _values(rows, fusion)
    order = np.argsort(rows.queries * len(rows.corpus_ids) + rows.documents, kind="stable")
    queries, documents, numbers = rows.queries[order], rows.documents[order], rows.sets[order]
    begins = _begins(queries, documents)
    again = order[~_begins(queries, documents, numbers)]
    if len(again):
        document = rows.corpus_ids[int(rows.documents[again[0]])].as_py()
        raise InputError(
            f"{rows.describe(again[0])} has the document {document!r} twice", "leave one hit of each document"
        )
    starts = np.flatnonzero(begins)
    # bincount adds one by one, and rows of a document stand in the order of the sets.
    scores = np.bincount(np.cumsum(begins) - 1, values[order], minlength=len(starts))
    best_ranks = np.minimum.reduceat(rows.ranks[order], starts) if len(starts) else starts
    finders = np.diff(starts, append=len(order))
    queries, documents = queries[starts], documents[starts]
    # Documents stand by id already, and the sort is stable.
    ranked = np.lexsort((best_ranks, -scores, queries))
    counts = np.bincount(queries, minlength=len(rows.query_ids))
    if fusion.top_k is not None:
        positions = np.arange(len(ranked)) - np.repeat(np.cumsum(counts) - counts, counts)
        ranked, counts = ranked[positions < fusion.top_k], np.minimum(counts, fusion.top_k)
    has = rows.presence()
    return FusedHits(
        table=hits_table(rows.query_ids, counts, rows.corpus_ids.take(pa.array(documents[ranked])), scores[ranked]),
        queries=len(rows.query_ids),
        found_by=np.bincount(finders[ranked], minlength=len(sets) + 1)[1:],
        missing=(~has).sum(axis=0),
        shared=(has & (has.sum(axis=1) > 1)[:, None]).sum(axis=0),
    )


def concat_hits(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of all tables, at least one; ids that are strings in one with rows are strings in all."""
    filled = [table for table in tables if len(table)] or tables[:1]
    strings = [name for name in ID_COLUMNS if any(pa.types.is_string(table[name].type) for table in filled)]
    return pa.concat_tables(ids_as_strings(table, strings) for table in filled)


def ids_as_strings(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """`table` with the columns `names` as strings."""
    for name in names:
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.string()))
    return table


@dataclass(frozen=True, eq=False)
class _Rows:
    """The hits of all sets, by query, set and rank.

    Attributes:
        names: `[s]` of the sets.
        query_ids: in the order in which they appear first.
        corpus_ids: by id.
        queries: `[n]` int64 positions in `query_ids`; `documents` those in `corpus_ids`, `sets` those in `names`.
        ranks: `[n]` int32.
        scores: `[n]` float64.
    """

    names: tuple[str, ...]
    query_ids: pa.Array
    corpus_ids: pa.Array
    queries: np.ndarray
    documents: np.ndarray
    sets: np.ndarray
    ranks: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, sets: Mapping[str, pa.Table]) -> _Rows:
        """From a table a set. Raises InputError where a query has a rank twice in a set."""
        table = concat_hits(list(sets.values()))
        query_ids, queries = _encoded(table["query_id"])
        corpus_ids, documents = _encoded(table["corpus_id"])
        by_id = pc.array_sort_indices(corpus_ids)
        places = np.empty(len(by_id), np.int64)
        places[by_id.to_numpy()] = np.arange(len(by_id))
        numbers = np.repeat(np.arange(len(sets)), [len(hits) for hits in sets.values()])
        ranks = table["rank"].to_numpy()
        order = np.lexsort((ranks, queries * len(sets) + numbers))
        rows = cls(
            names=tuple(sets),
            query_ids=query_ids,
            corpus_ids=corpus_ids.take(by_id),
            queries=queries[order],
            documents=places[documents[order]],
            sets=numbers[order],
            ranks=ranks[order],
            scores=table["score"].to_numpy()[order].astype(np.float64),
        )
        again = np.flatnonzero(~_begins(rows.queries, rows.sets, rows.ranks))
        if len(again):
            raise InputError(
                f"{rows.describe(again[0])} has rank {rows.ranks[again[0]]} twice",
                "give all hits of a query in one part, ranked 1, 2, 3 and so on",
            )
        return rows

    def describe(self, row: int) -> str:
        """`SET: query 'q'`, of the row number `row`."""
        return f"{self.names[self.sets[row]]}: query {self.query_ids[int(self.queries[row])].as_py()!r}"

    def presence(self) -> np.ndarray:
        """`[q, s]` bool: which set has which query."""
        has = np.zeros((len(self.query_ids), len(self.names)), bool)
        has[self.queries, self.sets] = True
        return has


def _encoded(column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """Distinct values in the order of their first row, and the position of each row's among them as int64."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)


def _begins(*columns: np.ndarray) -> np.ndarray:
    """`[n]` bool: rows that differ from the one before in any column."""
    begins = np.ones(len(columns[0]), bool)
    begins[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return begins


def _values(rows: _Rows, fusion: Fusion) -> np.ndarray:
    """`[n]` float64: what each row adds to the score of its document."""
    weights = np.asarray(fusion.weights, np.float64)[rows.sets]
    if fusion.method == "rrf":
        return weights / (fusion.rrf_k + rows.ranks.astype(np.float64))
    odd = np.flatnonzero(~np.isfinite(rows.scores))
    if len(odd):
        raise InputError(
            f"{rows.describe(odd[0])} has the score {rows.scores[odd[0]]}, which cannot be weighted",
            "leave such hits out, or fuse by ranks",
        )
    return weights * (_min_max(rows) if fusion.normalize == "min-max" else rows.scores)


def _min_max(rows: _Rows) -> np.ndarray:
    """`[n]` float64 between 0 and 1: scores by where they stand between a query's worst and best in a set."""
    begins = _begins(rows.queries, rows.sets)
    starts, lists = np.flatnonzero(begins), np.cumsum(begins) - 1
    if not len(starts):
        return rows.scores
    low = np.minimum.reduceat(rows.scores, starts)
    span = (np.maximum.reduceat(rows.scores, starts) - low)[lists]
    return np.divide(rows.scores - low[lists], span, out=np.ones_like(span), where=span > 0)
