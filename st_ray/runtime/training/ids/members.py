"""Examples of ids as parts on storage: each id of a shard once, and which of them an example has."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from st_ray.core.errors import InputError
from st_ray.runtime.meter import MeterClient
from st_ray.runtime.pipeline import Row, task_of
from st_ray.runtime.texts_by_id.ids import distinct_ids
from st_ray.runtime.training.ids.formats import NamedExamples, named_examples
from st_ray.runtime.training.ids.recipe import Recipe
from st_ray.store import fs
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import Part
from st_ray.store.readers.files import reading
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import read_shard
from st_ray.store.readers.spec import ReadSpec
from st_ray.store.rejects import left_out

KIND = "examples by id"
SUFFIX = ".arrow"
SYSTEM = "system "
"""What figures of a part begin with that count the rows in which a system has negatives."""
_SHAPE = b"shape"


@dataclass(frozen=True)
class Members:
    """The n examples of a shard.

    Attributes:
        query_ids: `[q]` string, each once.
        document_ids: `[d]` string, each once.
        members: int32 `[n, 1 + k]`, the query of each example and its k documents.
        labels: float32 `[n, m]`.
        rows: int64 `[n]`, global number of the row of the data that each is made of.
    """

    query_ids: pa.Array
    document_ids: pa.Array
    members: np.ndarray
    labels: np.ndarray
    rows: np.ndarray

    def take(self, chosen: np.ndarray) -> Members:
        """Some of the examples; the ids stay."""
        return Members(self.query_ids, self.document_ids, self.members[chosen], self.labels[chosen], self.rows[chosen])


def members_of(examples: NamedExamples) -> Members:
    """The same examples."""
    query_ids, query = distinct_ids(examples.queries)
    document_ids, document = distinct_ids(pa.concat_arrays(examples.documents))
    members = np.stack([query, *np.split(document, len(examples.documents))], axis=1)
    return Members(query_ids, document_ids, members, examples.labels, examples.rows)


def members_bytes(members: Members) -> bytes:
    """A part: an Arrow file of one row, each column a list. The same input gives the same bytes."""
    columns = {
        "query_ids": members.query_ids,
        "document_ids": members.document_ids,
        "members": pa.array(members.members.ravel()),
        "labels": pa.array(members.labels.ravel()),
        "rows": pa.array(members.rows),
    }
    table = pa.table({name: pa.ListArray.from_arrays([0, len(values)], values) for name, values in columns.items()})
    shape = [members.members.shape[1], members.labels.shape[1]]
    table = table.replace_schema_metadata({_SHAPE: json.dumps(shape).encode()})
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return sink.getvalue()


def read_members(folder: str, entry: ShardEntry) -> Members:
    """The inverse of `members_bytes`. Raises InputError where the part is missing or damaged."""
    url = fs.join(folder, "data", entry.name)
    with reading(url):
        table = pa.ipc.open_file(pa.BufferReader(fs.read_bytes(url))).read_all()
        query_ids, document_ids, members, labels, rows = (column.combine_chunks().flatten() for column in table.columns)
    inputs, width = json.loads(table.schema.metadata[_SHAPE])
    return Members(
        query_ids,
        document_ids,
        members.to_numpy().reshape(len(rows), inputs),
        labels.to_numpy().reshape(len(rows), width),
        rows.to_numpy(),
    )


@dataclass(frozen=True)
class MakeMembers:
    """Makes a part of a shard of rows that name texts by ids."""

    spec: ReadSpec
    on_bad_row: Any
    recipe: Recipe
    meter: MeterClient | None = None

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published."""
        plan: ShardPlan = task_of(row)
        block = read_shard(plan, self.spec, on_bad_row=self.on_bad_row)
        examples = self._checked(named_examples(block, self.recipe), plan)
        if self.meter is not None:
            self.meter.add(rows=plan.rows)
            self.meter.flush()
        rejected = left_out(block.rejects, row["name"].removesuffix(SUFFIX) + ".parquet")
        return Part(
            data=members_bytes(members_of(examples)),
            rows=len(examples.rows),
            first_row=plan.first_row,
            dropped={**rejected.get("dropped", {}), **examples.dropped},
            figures={SYSTEM + name: count for name, count in examples.systems.items()},
            beside=rejected.get("beside", {}),
        )

    def _checked(self, examples: NamedExamples, plan: ShardPlan) -> NamedExamples:
        """Those whose labels the loss can use. Raises InputError where there are others, unless they are left out."""
        wrong, takes = self.recipe.wrong_labels(examples.labels)
        if not wrong.any():
            return examples
        reason = f"a label that --loss {self.recipe.loss} cannot use (it takes {takes})"
        if self.on_bad_row == "skip":
            return examples.without(wrong, reason)
        first = int(np.flatnonzero(wrong)[0])
        labels = ", ".join(f"{label:g}" for label in examples.labels[first])
        raise InputError(
            f"{place_of(plan, int(examples.rows[first]))}: {reason}: {labels}",
            "choose --label-scale, or leave such rows out with --on-bad-row skip",
        )


def place_of(plan: ShardPlan, row: int) -> str:
    """The file, and the row of it, that a global row number of the shard stands for."""
    at = row - plan.first_row
    for segment in plan.segments:
        if at < segment.rows:
            return f"{segment.file.url}, row {segment.start_row + at + 1}"
        at -= segment.rows
    raise ValueError(f"row {row} is not of shard {plan.number}")


def system_counts(entries: Sequence[ShardEntry]) -> dict[str, int]:
    """In how many rows each of the wanted systems has negatives."""
    counts: dict[str, int] = {}
    for entry in entries:
        for name, count in entry.figures.items():
            if name.startswith(SYSTEM):
                counts[name[len(SYSTEM) :]] = counts.get(name[len(SYSTEM) :], 0) + int(count)
    return counts
