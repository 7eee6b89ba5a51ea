"""Reading one shard: its rows with their ids, texts and values, and the rows that had to be left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from st_ray.core.errors import InputError
from st_ray.store.readers.files import read_blocks, verify_unchanged
from st_ray.store.readers.plan import Segment, ShardPlan
from st_ray.store.readers.rows import RowBatch
from st_ray.store.readers.spec import ReadSpec, ValueColumn
from st_ray.store.readers.staging import read_chunks
from st_ray.store.readers.tables import arrow_batches, open_arrow, open_parquet, parquet_batches, table_rows
from st_ray.store.readers.text import record_stream, text_format, text_rows
from st_ray.store.readers.values import ARROW_TYPES

REJECTS_SCHEMA = pa.schema(
    [("file", pa.string()), ("row_in_file", pa.int64()), ("row", pa.int64()), ("reason", pa.string())]
)


@dataclass(frozen=True, eq=False)
class TextBlock:
    """The n good rows of one shard, in order.

    Attributes:
        ids: [n] string or int64; the global row numbers where there is no id column.
        rows: [n] int64, global row numbers.
        texts: n strings.
        values: [n] for each value column: string, list of strings, float64, list of float64 or int64, for the kinds
            text, texts, number, numbers and class; string, list of strings, or map of strings to such lists, for id,
            ids and id lists.
        rejects: a table of REJECTS_SCHEMA, one row a bad row; both row numbers count from 0.
    """

    ids: pa.Array
    rows: np.ndarray
    texts: list[str]
    values: tuple[pa.Array, ...]
    rejects: pa.Table

    def __len__(self) -> int:
        return len(self.texts)


def read_shard(plan: ShardPlan, spec: ReadSpec, *, on_bad_row: Literal["fail", "skip"]) -> TextBlock:
    """Read the rows of one shard. Memory: the shard, and a block of one file.

    Args:
        spec: the columns, as `resolve_inputs` completed them.
        on_bad_row: fail: a bad row raises; skip: it is left out and listed in `rejects`.

    Raises:
        InputError: a file changed since the scan or is damaged; a bad row, with its file, its number and why.
    """
    ids: list[Any] = []
    rows: list[np.ndarray] = []
    texts: list[str] = []
    values: list[list[pa.Array]] = [[] for _ in spec.values]
    rejects: list[dict[str, Any]] = []
    row = plan.first_row
    for segment in plan.segments:
        offset = row - segment.start_row
        for batch in segment_rows(segment, spec, plan.id_kind):
            first = row - offset
            bad = sorted(batch.bad.items())
            if bad and on_bad_row == "fail":
                raise _bad_row(segment.file.url, first + bad[0][0], bad[0][1])
            rejects += [_reject(segment.file.url, first + index, row + index, reason) for index, reason in bad]
            good = np.ones(len(batch), dtype=bool)
            good[[index for index, _ in bad]] = False
            rows.append(row + np.flatnonzero(good))
            texts += [text for text in batch.texts if text is not None]
            for arrays, array in zip(values, batch.values, strict=True):
                arrays.append(array.filter(pa.array(good)) if bad else array)
            if batch.ids is not None:
                ids += [value for value in batch.ids if value is not None] if bad else batch.ids
            row += len(batch)
    all_rows = np.concatenate([np.empty(0, dtype=np.int64), *rows])
    return TextBlock(
        pa.array(all_rows) if spec.id_column is None else pa.array(ids, _id_type(plan)),
        all_rows,
        texts,
        tuple(_joined(column, arrays, plan) for column, arrays in zip(spec.values, values, strict=True)),
        pa.Table.from_pylist(rejects, schema=REJECTS_SCHEMA),
    )


def segment_rows(segment: Segment, spec: ReadSpec, id_kind: str | None) -> Iterator[RowBatch]:
    """The rows of one segment, in batches, bad ones in their places.

    Raises:
        InputError: the file changed since the scan, is damaged, or holds fewer rows than it did.
    """
    verify_unchanged(segment.file)
    read = {"parquet": _parquet_rows, "arrow": _arrow_rows}.get(segment.file.format, _text_rows)
    rows = 0
    for batch in read(segment, spec, id_kind):
        rows += len(batch)
        yield batch
    if rows != segment.rows:
        raise InputError(
            f"{segment.file.url}: {rows} rows from row {segment.start_row + 1} on, where {segment.rows} were scanned",
            "start the job again with --overwrite",
        )


def _parquet_rows(segment: Segment, spec: ReadSpec, id_kind: str | None) -> Iterator[RowBatch]:
    with open_parquet(segment.file.url) as source:
        for batch in parquet_batches(source, spec.needed(), segment.start_row, segment.rows):
            yield table_rows(batch, spec, id_kind)


def _arrow_rows(segment: Segment, spec: ReadSpec, id_kind: str | None) -> Iterator[RowBatch]:
    skip = segment.start_row - segment.seek_row
    with open_arrow(segment.file.url) as (source, schema):
        for batch in arrow_batches(source, schema, segment.file.url, segment.seek_byte, skip, segment.rows):
            yield table_rows(batch, spec, id_kind)


def _text_rows(segment: Segment, spec: ReadSpec, id_kind: str | None) -> Iterator[RowBatch]:
    parser = text_format(segment.file.format, spec, segment.fields)
    blocks, skip = _text_blocks(segment)
    rows = segment.rows
    for records in record_stream(blocks, parser, segment.file.url):
        part = records.slice(min(skip, len(records)), min(skip + rows, len(records)))
        skip -= min(skip, len(records))
        rows -= len(part)
        if len(part):
            yield text_rows(part, parser, spec, id_kind)
        if not rows:
            return


def _text_blocks(segment: Segment) -> tuple[Iterator[bytes], int]:
    """A stream of bytes that holds the segment, and how many rows stand before it there."""
    file, chunks = segment.file, segment.chunks
    if chunks is None:
        blocks = read_blocks(file.url, file.compression, segment.seek_byte, segment.end_byte)
        return blocks, segment.start_row - segment.seek_row
    first, last = segment.start_row // chunks.rows, (segment.start_row + segment.rows - 1) // chunks.rows
    return read_chunks(chunks, first, last), segment.start_row - first * chunks.rows


def _joined(column: ValueColumn, arrays: Sequence[pa.Array], plan: ShardPlan) -> pa.Array:
    """One array, with buffers of its own: no memory map and no batch is kept alive by it."""
    try:
        return pa.concat_arrays([pa.array([], ARROW_TYPES[column.kind]), *arrays])
    except pa.ArrowInvalid as error:
        raise InputError(
            f"column {column.name!r}: its texts in rows {plan.first_row + 1} to {plan.first_row + plan.rows} do not "
            f"fit into one array: {error}",
            "use a smaller --shard-rows",
        ) from error


def _id_type(plan: ShardPlan) -> pa.DataType:
    return pa.int64() if plan.id_kind == "int64" else pa.string()


def _bad_row(url: str, row_in_file: int, reason: str) -> InputError:
    return InputError(
        f"{url}: row {row_in_file + 1} (the first row is 1): {reason}",
        "repair the row, or leave such rows out with --on-bad-row skip",
    )


def _reject(url: str, row_in_file: int, row: int, reason: str) -> dict[str, Any]:
    return {"file": url, "row_in_file": row_in_file, "row": row, "reason": reason}
