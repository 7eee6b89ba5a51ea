"""Mined negatives as the tables that trainers read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from st_ray.mining.candidates import Candidates, QueryGroups

_ROWS = 1 << 14
"""Rows of a chunk: the offsets of its texts have 32 bits."""


@dataclass(frozen=True)
class Mined:
    """Queries with their positives and the negatives that were chosen for them.

    Attributes:
        groups: the queries and their positives.
        positive_scores: float32 `[p]`, of each pair of a query and a positive.
        negatives: best first.
        wanted: negatives that were asked for, for each query.
    """

    groups: QueryGroups
    positive_scores: np.ndarray
    negatives: Candidates
    wanted: int

    @property
    def found(self) -> np.ndarray:
        """How many negatives each query has, int64 `[q]`."""
        return np.bincount(self.negatives.query, minlength=len(self.groups.queries))

    def complete(self) -> Mined:
        """Without the negatives of queries that have fewer than were asked for."""
        return replace(self, negatives=self.negatives[self.found[self.negatives.query] == self.wanted])

    def triplets(self) -> tuple[np.ndarray, np.ndarray]:
        """Every positive pair beside every negative of its query: row of the pair, row of the negative, int64 `[t]`."""
        found = self.found
        repeats = found[self.groups.query]
        pair = np.repeat(np.arange(len(repeats)), repeats)
        first = np.cumsum(found) - found
        begins = np.cumsum(repeats) - repeats
        return pair, np.arange(len(pair)) - np.repeat(begins - first[self.groups.query], repeats)


@dataclass(frozen=True)
class Layout:
    """How the table is to be.

    Attributes:
        anchor: name of the column of queries.
        positive: name of the column of positives, or of documents of both kinds.
        with_scores: whether it has scores; in the labelled formats, in place of labels.
    """

    anchor: str
    positive: str
    with_scores: bool = False


Columns: TypeAlias = list[pa.ChunkedArray]


def table_names(output_format: str, layout: Layout, wanted: int) -> list[str]:
    """The columns of a table of one of the `FORMATS`, with `wanted` negatives.

    Raises:
        ValueError: two columns would have the same name.
    """
    scores = ["scores"] if layout.with_scores else []
    added = {
        "triplet": ["negative", *scores],
        "n-tuple": [*(f"negative_{place}" for place in range(1, wanted + 1)), *scores],
        "labeled-pair": ["score" if layout.with_scores else "label"],
        "labeled-list": scores or ["labels"],
    }[output_format]
    for name in (layout.anchor, layout.positive):
        if name in added:
            raise ValueError(f"the result would have two columns named {name!r}; rename that of the dataset")
    return [layout.anchor, layout.positive, *added]


def to_table(mined: Mined, output_format: str, layout: Layout) -> pa.Table:
    """The table of one of the `FORMATS`; it has its columns and their types also where it has no rows."""
    names = table_names(output_format, layout, mined.wanted)
    return pa.table(_FORMATS[output_format](mined, layout.with_scores), names=names)


def rows_wanted(mined: Mined, output_format: str) -> int:
    """Rows that the table would have if every query had as many negatives as were asked for."""
    pairs, queries = len(mined.groups.query), len(mined.groups.queries)
    return {"triplet": pairs * mined.wanted, "labeled-pair": pairs + queries * mined.wanted}.get(output_format, pairs)


def _triplets(mined: Mined, with_scores: bool) -> Columns:
    pair, negative = mined.triplets()
    columns = [*_pairs(mined.groups, pair), _texts(mined.groups.documents, mined.negatives.document[negative])]
    if with_scores:
        scores = np.stack([mined.positive_scores[pair], mined.negatives.scores[negative]], axis=1)
        columns.append(_number_lists(scores.ravel(), np.full(len(pair), 2)))
    return columns


def _tuples(mined: Mined, with_scores: bool) -> Columns:
    mined = mined.complete()
    pair, negative = (rows.reshape(-1, mined.wanted) for rows in mined.triplets())
    pair = pair[:, 0]
    columns = _pairs(mined.groups, pair)
    columns += [_texts(mined.groups.documents, document) for document in mined.negatives.document[negative].T]
    if with_scores:
        scores = np.concatenate([mined.positive_scores[pair][:, None], mined.negatives.scores[negative]], axis=1)
        columns.append(_number_lists(scores.ravel(), np.full(len(pair), 1 + mined.wanted)))
    return columns


def _labeled_pairs(mined: Mined, with_scores: bool) -> Columns:
    groups, negatives = mined.groups, mined.negatives
    query = np.concatenate([groups.query, negatives.query])
    order = np.argsort(query, kind="stable")
    document = np.concatenate([groups.positive, negatives.document])[order]
    if with_scores:
        values = np.concatenate([mined.positive_scores, negatives.scores])[order].astype(np.float64)
    else:
        values = (order < len(groups.query)).astype(np.int64)
    return [_texts(groups.queries, query[order]), _texts(groups.documents, document), pa.chunked_array([values])]


def _labeled_lists(mined: Mined, with_scores: bool) -> Columns:
    groups, negatives = mined.groups, mined.negatives
    pair, negative = mined.triplets()
    heads = np.unique(pair)
    order = np.argsort(np.concatenate([heads, pair]), kind="stable")
    document = np.concatenate([groups.positive[heads], negatives.document[negative]])[order]
    if with_scores:
        values = np.concatenate([mined.positive_scores[heads], negatives.scores[negative]])[order]
    else:
        values = order < len(heads)
    query = groups.query[heads]
    lengths = 1 + mined.found[query]
    return [
        _texts(groups.queries, query),
        _text_lists(groups.documents, document, lengths),
        _number_lists(values, lengths),
    ]


_FORMATS: dict[str, Callable[[Mined, bool], Columns]] = {
    "triplet": _triplets,
    "n-tuple": _tuples,
    "labeled-pair": _labeled_pairs,
    "labeled-list": _labeled_lists,
}
FORMATS = tuple(_FORMATS)
"""Names of the formats."""


def _pairs(groups: QueryGroups, pair: np.ndarray) -> Columns:
    return [_texts(groups.queries, groups.query[pair]), _texts(groups.documents, groups.positive[pair])]


def _texts(texts: pa.LargeStringArray, positions: np.ndarray) -> pa.ChunkedArray:
    chunks = [_taken(texts, positions[start : start + _ROWS]) for start in range(0, len(positions), _ROWS)]
    return pa.chunked_array(chunks, pa.string())


def _text_lists(texts: pa.LargeStringArray, positions: np.ndarray, lengths: np.ndarray) -> pa.ChunkedArray:
    return _lists(lengths, pa.string(), lambda first, last: _taken(texts, positions[first:last]))


def _number_lists(values: np.ndarray, lengths: np.ndarray) -> pa.ChunkedArray:
    """Lists of float64, or of int64 for integers."""
    wide = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    return _lists(lengths, pa.from_numpy_dtype(wide.dtype), lambda first, last: pa.array(wide[first:last]))


def _lists(lengths: np.ndarray, kind: pa.DataType, values: Callable[[int, int], pa.Array]) -> pa.ChunkedArray:
    """Lists of `lengths`, of the values from `first` up to before `last`."""
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    chunks = []
    for start in range(0, len(lengths), _ROWS):
        some = bounds[start : start + _ROWS + 1]
        offsets = pa.array((some - some[0]).astype(np.int32))
        chunks.append(pa.ListArray.from_arrays(offsets, values(int(some[0]), int(some[-1]))))
    return pa.chunked_array(chunks, pa.list_(kind))


def _taken(texts: pa.LargeStringArray, positions: np.ndarray) -> pa.StringArray:
    return texts.take(pa.array(positions)).cast(pa.string())
