"""The texts of a corpus and of pairs, as tasks read them: shards of both sides, numbered through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_ray.core.errors import InputError
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import read_shard
from st_ray.store.readers.spec import ReadSpec


@dataclass(frozen=True)
class Texts:
    """The n rows of a shard that have a text.

    Attributes:
        rows: int32 `[n]`, of the shard, rising.
        anchors: large_string `[n]`; none of a corpus.
        documents: large_string `[n]`.
        empty: rows that were left out for having no text.
    """

    rows: np.ndarray
    anchors: pa.LargeStringArray | None
    documents: pa.LargeStringArray
    empty: int


@dataclass(frozen=True)
class Source:
    """One side's files.

    Attributes:
        spec: of pairs, the anchor and the positive are value columns; a corpus has none.
    """

    spec: ReadSpec
    on_bad_row: Any

    def read(self, plan: ShardPlan) -> Texts:
        """A shard.

        Raises:
            InputError: a file changed or is damaged; a bad row, or a pair without a text, that is not to be skipped.
        """
        block = read_shard(plan, self.spec, on_bad_row=self.on_bad_row)
        columns = block.values or (pa.array(block.texts, pa.large_string()),)
        empty = np.zeros(len(block), bool)
        for column in columns:
            empty |= pc.equal(pc.utf8_trim_whitespace(column), "").to_numpy(zero_copy_only=False)
        rows = (block.rows - plan.first_row).astype(np.int32)
        if block.values and self.on_bad_row == "fail" and empty.any():
            raise InputError(
                f"{place_of(plan, int(rows[empty][0]))}: an empty anchor or positive ({int(empty.sum())} such rows in "
                "this shard)",
                "give it a text, or leave such rows out with --on-bad-row skip",
            )
        kept = [column.filter(pa.array(~empty)).cast(pa.large_string()) for column in columns]
        return Texts(rows[~empty], kept[0] if block.values else None, kept[-1], int(empty.sum()))


@dataclass(frozen=True)
class Shard:
    """A shard of either side.

    Attributes:
        number: its own, among those of both sides: the corpus's, then those of pairs.
        first_row: of its first row, counted likewise; the id of a text is the row that it first appears in.
    """

    number: int
    first_row: int
    source: Source
    plan: ShardPlan

    def read(self) -> Texts:
        """Its texts; raises what `Source.read` raises."""
        return self.source.read(self.plan)


def numbered(sides: Sequence[tuple[Source, Sequence[ShardPlan], int]]) -> tuple[Shard, ...]:
    """The shards of sides, each with its number of rows, one behind another."""
    shards: list[Shard] = []
    rows = 0
    for source, plans, count in sides:
        shards += [
            Shard(number, rows + plan.first_row, source, plan) for number, plan in enumerate(plans, start=len(shards))
        ]
        rows += count
    return tuple(shards)


def place_of(plan: ShardPlan, row: int) -> str:
    """`FILE, row 7` of a row of a shard; rows of a file count from 1."""
    for segment in plan.segments:
        if row < segment.rows:
            return f"{segment.file.url}, row {segment.start_row + row + 1}"
        row -= segment.rows
    raise IndexError(row)
