"""Around the scoring of texts: a shard's rows are taken apart into pairs, and their scores put beside the texts again.

id        string or int64, where the data has ids
texts     string, or list<string> of lists of documents: the columns of the data, by their own names
score     float32 of a pair; or
scores    list<float32>: one for each document of a tuple or a list, or of a pair one for each label of the model
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_ray.runtime.cross_encoding.model import require_one_label
from st_ray.runtime.cross_encoding.shards import Texts
from st_ray.runtime.pipeline import Row, unpack
from st_ray.runtime.report.scores import counted
from st_ray.store.embeddings import parquet_bytes
from st_ray.store.output import Part
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import TextBlock, read_shard
from st_ray.store.readers.spec import ReadSpec
from st_ray.store.rejects import left_out

ID, SCORE, SCORES = "id", "score", "scores"
WHY_ONE_LABEL = "a document of a tuple or a list has one score"
_MOST_LABELS = 4
"""Whose scores are counted for the report."""


@dataclass(frozen=True)
class TextRows:
    """What is known of a shard's n rows beside the texts of their pairs.

    Attributes:
        columns: `[n]` of the part, but for the scores.
        rows: int64 `[n]`, their numbers in the data.
        counts: int64 `[n]`, the documents of each row; None where a row is a pair.
        pair_of: int64, which of the shard's distinct pairs each pair of a row is, one row behind another.
        rejects: rows that were left out.
    """

    columns: dict[str, pa.Array]
    rows: np.ndarray
    counts: np.ndarray | None
    pair_of: np.ndarray
    rejects: pa.Table
    first_row: int

    def describe(self, number: int) -> str:
        """Name a distinct pair by the first row that has it, from 1 on."""
        row = place = int(np.flatnonzero(self.pair_of == number)[0])
        document = ""
        if self.counts is not None:
            ends = np.cumsum(self.counts)
            row = int(np.searchsorted(ends, place, side="right"))
            document = f"document {place - int(ends[row] - self.counts[row]) + 1} of "
        known = f" (id {self.columns[ID][row].as_py()!r})" if ID in self.columns else ""
        return f"{document}row {self.rows[row] + 1:,}{known}"


@dataclass(frozen=True)
class TextSource:
    """How shards of rows of texts are read; a `PairSource`.

    Attributes:
        spec: the query is its text column, the documents are its values: one column of a pair, several of a tuple, one
            of lists.
    """

    spec: ReadSpec
    on_bad_row: Literal["fail", "skip"]

    def read(self, shard: ShardPlan) -> tuple[Texts, TextRows]:
        """The shard's distinct texts, its distinct pairs of them, and the rest.

        Raises:
            InputError: a file changed or is damaged, or a row is bad.
        """
        block = read_shard(shard, self.spec, on_bad_row=self.on_bad_row)
        queries, query_of = _distinct(pa.array(block.texts, pa.large_string()))
        documents, document_of, counts = self._documents(block)
        query_of = query_of if counts is None else np.repeat(query_of, counts)
        pair = query_of.astype(np.int64) * len(documents) + document_of
        _, first, pair_of = np.unique(pair, return_index=True, return_inverse=True)
        names = [*self.spec.text_columns, *(column.name for column in self.spec.values)]
        columns = dict(zip(names, [pa.array(block.texts, pa.string()), *block.values], strict=True))
        if self.spec.id_column is not None:
            columns = {ID: block.ids, **columns}
        rest = TextRows(columns, block.rows, counts, pair_of, block.rejects, shard.first_row)
        return (queries, documents, query_of[first], document_of[first]), rest

    def _documents(self, block: TextBlock) -> tuple[list[str], np.ndarray, np.ndarray | None]:
        """The distinct documents; which of them stand in the rows, one row behind another; how many in each row."""
        if self.spec.values[0].kind == "texts":
            (lists,) = block.values
            counts = pc.list_value_length(lists).to_numpy().astype(np.int64)
            return *_distinct(lists.flatten().cast(pa.large_string())), counts
        columns = [column.cast(pa.large_string()) for column in block.values]
        documents, document_of = _distinct(pa.concat_arrays(columns))
        if len(columns) == 1:
            return documents, document_of, None
        by_row = document_of.reshape(len(columns), len(block)).T.ravel()
        return documents, by_row, np.full(len(block), len(columns), np.int64)


def _distinct(texts: pa.LargeStringArray) -> tuple[list[str], np.ndarray]:
    """The distinct texts in order of appearance, and which of them each is, int32 `[n]`."""
    found = texts.dictionary_encode()
    return found.dictionary.to_pylist(), found.indices.to_numpy()


def make_part(row: Row) -> Part:
    """Behind the scoring: the texts with their scores, ready to be published."""
    rows: TextRows = unpack(row["pairs"])
    distinct: Any = np.asarray(row["scores"], np.float32)
    scores = distinct[rows.pair_of]
    labels = scores.shape[1]
    if rows.counts is not None:
        require_one_label("the scorer", labels, WHY_ONE_LABEL)
    if rows.counts is None and labels == 1:
        columns = {**rows.columns, SCORE: pa.array(scores[:, 0])}
    else:
        lengths = np.full(len(rows.rows), labels) if rows.counts is None else rows.counts
        columns = {**rows.columns, SCORES: _lists(scores.ravel(), lengths)}
    return Part(
        data=parquet_bytes(pa.table(columns)),
        rows=len(rows.rows),
        first_row=rows.first_row,
        figures={
            **unpack(row["figures"]),
            "pairs": len(distinct),
            "all_pairs": len(scores),
            "labels": labels,
            **_distribution(scores),
        },
        scores=counted(_by_label(scores)),
        **left_out(rows.rejects, row["name"]),
    )


def _lists(values: np.ndarray, lengths: np.ndarray) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def _by_label(scores: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of `[n, labels]` that the report shows."""
    labels = scores.shape[1]
    names = ["all pairs"] if labels == 1 else [f"label {label + 1} of {labels}" for label in range(labels)]
    return dict(zip(names[:_MOST_LABELS], scores.T, strict=False))


def _distribution(scores: np.ndarray) -> dict[str, float]:
    """What those of several parts can be put together from; empty where there is no score."""
    if not scores.size:
        return {}
    return {
        "least_score": float(scores.min()),
        "greatest_score": float(scores.max()),
        "sum_of_scores": float(scores.sum(dtype=np.float64)),
    }
