"""Around the scoring of labelled pairs: how a shard is read, and how its scores become a part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from st_ray.runtime.cross_encoding.shards import Texts
from st_ray.runtime.pipeline import Row, unpack
from st_ray.store.output import Part
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import read_shard
from st_ray.store.readers.spec import ReadSpec
from st_ray.store.rejects import left_out
from st_ray.store.scores import SCORES_PER_PAIR, scores_part


@dataclass(frozen=True)
class LabelledPairs:
    """What is known of a shard's n pairs beside their texts.

    Attributes:
        columns: `[n]` of the part, but for the scores.
        rejects: rows that were left out.
    """

    columns: dict[str, pa.Array]
    rejects: pa.Table
    first_row: int

    def describe(self, number: int) -> str:
        """Name a pair by its row, from 1 on."""
        row = f"row {self.columns['row'][number].as_py() + 1:,}"
        if "id" in self.columns:
            row += f" (id {self.columns['id'][number].as_py()!r})"
        return f"document {self.columns['document'][number]} of {row}" if "document" in self.columns else row


@dataclass(frozen=True)
class LabelledSource:
    """How shards of labelled pairs, or of queries with documents, are read; a `PairSource`."""

    spec: ReadSpec
    on_bad_row: Literal["fail", "skip"]
    of_documents: bool

    def read(self, shard: ShardPlan) -> tuple[Texts, LabelledPairs]:
        """A shard's texts, and the rest.

        Raises:
            InputError: a file changed or is damaged, or a row is bad.
        """
        block = read_shard(shard, self.spec, on_bad_row=self.on_bad_row)
        ids = {} if self.spec.id_column is None else {"id": block.ids}
        if not self.of_documents:
            second, labels = block.values
            columns = {"row": pa.array(block.rows), **ids, "label": labels}
            every = np.arange(len(block), dtype=np.int32)
            texts = block.texts, second.to_pylist(), every, every
            return texts, LabelledPairs(columns, block.rejects, shard.first_row)
        documents, relevant, counts = _documents(*(column.to_pylist() for column in block.values))
        query_of = np.repeat(np.arange(len(block), dtype=np.int32), counts)
        columns = {
            "row": pa.array(block.rows[query_of]),
            **{name: column.take(pa.array(query_of)) for name, column in ids.items()},
            "document": pa.array(
                np.concatenate([np.zeros(0, np.int32), *(np.arange(n, dtype=np.int32) for n in counts)])
            ),
            "label": pa.array(relevant),
        }
        texts = block.texts, documents, query_of, np.arange(len(documents), dtype=np.int32)
        return texts, LabelledPairs(columns, block.rejects, shard.first_row)


def _documents(positives: list[list[str]], negatives: list[list[str]]) -> tuple[list[str], np.ndarray, list[int]]:
    """All documents, the relevant ones of each query first; their labels int64; documents of each query."""
    texts: list[str] = []
    labels: list[int] = []
    for relevant, others in zip(positives, negatives, strict=True):
        texts += [*relevant, *others]
        labels += [1] * len(relevant) + [0] * len(others)
    counts = [len(relevant) + len(others) for relevant, others in zip(positives, negatives, strict=True)]
    return texts, np.array(labels, np.int64), counts


def make_part(row: Row) -> Part:
    """Behind the scoring: the part of scores, ready to be published."""
    scores: Any = np.asarray(row["scores"], np.float32)
    pairs: LabelledPairs = unpack(row["pairs"])
    return part_of(row, scores_part(pairs.columns, scores), len(scores), {SCORES_PER_PAIR: scores.shape[1]})


def part_of(row: Row, data: bytes, rows: int, figures: Mapping[str, float] | None = None) -> Part:
    """A part of `data` with its `rows`, of what else the stage's row holds, and further figures."""
    pairs: LabelledPairs = unpack(row["pairs"])
    return Part(
        data=data,
        rows=rows,
        first_row=pairs.first_row,
        figures={**unpack(row["figures"]), **(figures or {})},
        **left_out(pairs.rejects, row["name"]),
    )
