"""The scan: one pass over one file that counts, validates and fingerprints its rows, and marks where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from st_ray.store.readers.columns import check_names
from st_ray.store.readers.duplicates import hash_ids
from st_ray.store.readers.files import between, read_blocks, verify_unchanged
from st_ray.store.readers.rows import RowBatch
from st_ray.store.readers.spec import ReadSpec, SourceFile
from st_ray.store.readers.staging import Chunks, ChunkWriter, chunks_of
from st_ray.store.readers.tables import (
    arrow_messages,
    check_schema,
    open_arrow,
    open_parquet,
    parquet_batches,
    schema_columns,
    table_rows,
)
from st_ray.store.readers.text import record_stream, take_head, text_format, text_rows

_ID_KINDS = {"string": "string", "integer": "int64"}
# Behind the footer stand its length and four letters.
_FOOTER_END_BYTES = 8


class BadRow(NamedTuple):
    """A row that cannot be processed: its number in the file, from 0, and why."""

    row: int
    reason: str


@dataclass(frozen=True, eq=False)
class FileScan:
    """What one pass over a file found.

    Attributes:
        url: the file.
        rows: how many, bad ones included.
        marks: [m, 2] int64, (row, byte) of places at which reading can begin, by row, row 0 first: every
            `mark_every` rows of a text file, record batches of an Arrow file (at least that often where the batches
            are that small), row groups of a Parquet file. Of compressed text, row 0 alone.
        digest: of the bytes of a text file, decompressed; of size, stamp and schema of an Arrow file; of size, stamp
            and footer of a Parquet file.
        id_kind: string or int64; None where there is no id column, or no row to have an id.
        fields: the columns of a CSV or TSV file in order, else ().
        bad: the first bad rows.
        bad_rows: how many there are in all. Texts of a Parquet or Arrow file that are no UTF-8 only show in reading.
        id_hashes: [rows, 2] uint64, where they were wanted and there is an id column.
        chunks: where the rows of a compressed text file lie in a form that can be sought; None: nowhere.
    """

    url: str
    rows: int
    marks: np.ndarray
    digest: str
    id_kind: str | None
    fields: tuple[str, ...]
    bad: tuple[BadRow, ...]
    bad_rows: int
    id_hashes: np.ndarray | None
    chunks: Chunks | None


def scan_file(
    file: SourceFile, spec: ReadSpec, *, mark_every: int, staging: str | None, max_bad: int = 5, want_ids: bool
) -> FileScan:
    """Scan one file. Memory: a block of it, 16 bytes a row with `want_ids`, and a compressed chunk while staging.

    Args:
        spec: the columns, as `resolve_inputs` completed them.
        mark_every: rows between marks, and rows of a chunk: best the rows of a shard.
        staging: the folder for the chunks of compressed text; None: none are made, and reading any rows of such a
            file reads all that stands before them.
        max_bad: how many bad rows to name.
        want_ids: whether to hash the ids.

    Raises:
        InputError: the file changed since it was resolved, is damaged, or lacks a column.
    """
    verify_unchanged(file)
    tally = _Tally(file.url, max_bad, want_ids and spec.id_column is not None)
    if file.format == "parquet":
        return _scan_parquet(file, spec, tally)
    if file.format == "arrow":
        return _scan_arrow(file, spec, tally, mark_every)
    return _scan_text(file, spec, tally, mark_every, staging)


class _Tally:
    """What is counted alike in every format."""

    def __init__(self, url: str, max_bad: int, want_hashes: bool) -> None:
        self.rows = 0
        self.bad_rows = 0
        self.id_kind: str | None = None
        self.want_hashes = want_hashes
        self._url = url
        self._max_bad = max_bad
        self._bad: list[BadRow] = []
        self._hashes: list[np.ndarray] = []

    def add(self, batch: RowBatch) -> None:
        """Count the next rows."""
        room = self._max_bad - len(self._bad)
        self._bad += [BadRow(self.rows + index, reason) for index, reason in sorted(batch.bad.items())[:room]]
        self.bad_rows += len(batch.bad)
        self.id_kind = batch.id_kind
        if self.want_hashes and batch.ids is not None:
            self._hashes.append(hash_ids(batch.ids, self._url, self.rows))
        self.rows += len(batch)

    def skip(self, rows: int) -> None:
        """Count rows that are known to be good and whose ids are not wanted."""
        self.rows += rows

    def result(
        self, marks: np.ndarray, digest: Any, fields: tuple[str, ...] = (), chunks: Chunks | None = None
    ) -> FileScan:
        """The scan of the file, all of whose rows were counted."""
        hashes = None
        if self.want_hashes:
            hashes = np.concatenate([np.empty((0, 2), dtype=np.uint64), *self._hashes])
        return FileScan(
            url=self._url,
            rows=self.rows,
            marks=marks,
            digest=digest.hexdigest(),
            id_kind=self.id_kind if self.rows else None,
            fields=fields,
            bad=tuple(self._bad),
            bad_rows=self.bad_rows,
            id_hashes=hashes,
            chunks=chunks,
        )


def _scan_text(file: SourceFile, spec: ReadSpec, tally: _Tally, mark_every: int, staging: str | None) -> FileScan:
    digest = hashlib.blake2b(digest_size=32)
    blocks = _hashed(read_blocks(file.url, file.compression), digest)
    head, blocks = take_head(blocks, file.format, spec, file.url)
    # JSON lines have no schema: a key that is missing makes a bad row.
    if head.columns and file.format != "jsonl":
        check_names(spec, head.columns, file.url)
    parser = text_format(file.format, spec, head.fields)
    chunks = chunks_of(file, spec, staging, mark_every) if file.compression and staging is not None else None
    writer = ChunkWriter(chunks) if chunks is not None else None
    marks = [_marks([0], [head.data_start])]
    at = head.data_start
    for records in record_stream(between(blocks, head.data_start), parser, file.url):
        if not file.compression:
            marks.append(_text_marks(records.starts + at, tally.rows, mark_every))
        if writer is not None:
            writer.add(records)
        if len(records):
            tally.add(text_rows(records, parser, spec, tally.id_kind))
        at += records.used
    if writer is not None:
        writer.close()
    return tally.result(np.concatenate(marks), digest, head.fields, chunks)


def _scan_parquet(file: SourceFile, spec: ReadSpec, tally: _Tally) -> FileScan:
    marks = [_marks([], [])]
    with open_parquet(file.url) as source:
        check_schema(spec, source.schema_arrow, file.url)
        tally.id_kind = _id_kind(spec, source.schema_arrow)
        unproven = _unproven(spec, tally.want_hashes)
        footer_bytes = source.metadata.serialized_size + _FOOTER_END_BYTES
        for number in range(source.metadata.num_row_groups):
            group = source.metadata.row_group(number)
            marks.append(_marks([tally.rows], [group.column(0).data_page_offset]))
            read = spec if _may_be_bad(group, source, spec) else unproven
            if not read.needed():
                tally.skip(group.num_rows)
                continue
            for batch in parquet_batches(source, read.needed(), tally.rows, group.num_rows):
                tally.add(table_rows(batch, read, tally.id_kind))
    digest = _stamp_digest(file)
    for block in read_blocks(file.url, start=file.size - footer_bytes):
        digest.update(block)
    return tally.result(np.concatenate(marks), digest)


def _scan_arrow(file: SourceFile, spec: ReadSpec, tally: _Tally, mark_every: int) -> FileScan:
    rows: list[int] = []
    offsets: list[int] = []
    with open_arrow(file.url) as (source, schema):
        check_schema(spec, schema, file.url)
        tally.id_kind = _id_kind(spec, schema)
        proven, unproven = _proven_by_nulls(spec), _unproven(spec, tally.want_hashes)
        for offset, batch in arrow_messages(source, schema, file.url):
            # A mark is dropped again where the next one still comes soon enough.
            if len(rows) > 1 and tally.rows - rows[-2] <= mark_every:
                rows.pop()
                offsets.pop()
            rows.append(tally.rows)
            offsets.append(offset)
            nulls = any(batch.column(name).null_count for name in proven)
            read = spec if nulls or _is_uint64(spec, schema) else unproven
            if read.needed():
                tally.add(table_rows(batch, read, tally.id_kind))
            else:
                tally.skip(batch.num_rows)
        digest = _stamp_digest(file)
        digest.update(schema.serialize().to_pybytes())
    return tally.result(_marks(rows, offsets), digest)


def _hashed(blocks: Iterable[bytes], digest: Any) -> Iterator[bytes]:
    for block in blocks:
        digest.update(block)
        yield block


def _stamp_digest(file: SourceFile) -> Any:
    return hashlib.blake2b(f"{file.size} {file.stamp}\n".encode(), digest_size=32)


def _marks(rows: list[int], offsets: list[int]) -> np.ndarray:
    return np.array([rows, offsets], dtype=np.int64).T


def _text_marks(starts: np.ndarray, first_row: int, every: int) -> np.ndarray:
    """Marks at the multiples of `every` among rows that begin at the bytes `starts`; row 0 has its mark already."""
    wanted = np.arange(max(every, -(-first_row // every) * every), first_row + len(starts), every, dtype=np.int64)
    return np.stack([wanted, starts[wanted - first_row]], axis=1)


def _id_kind(spec: ReadSpec, schema: pa.Schema) -> str | None:
    return None if spec.id_column is None else _ID_KINDS.get(dict(schema_columns(schema))[spec.id_column])


def _is_uint64(spec: ReadSpec, schema: pa.Schema) -> bool:
    return spec.id_column is not None and pa.types.is_uint64(schema.field(spec.id_column).type)


def _proven_by_nulls(spec: ReadSpec) -> tuple[str, ...]:
    """The columns of a table all of whose cells can be used where none of them is null."""
    return replace(spec, values=tuple(column for column in spec.values if column.kind == "text")).needed()


def _unproven(spec: ReadSpec, want_ids: bool) -> ReadSpec:
    """What of a table must be read even so: numbers, since one may be out of range, lists, and ids if wanted."""
    values = tuple(column for column in spec.values if column.kind != "text")
    return replace(spec, text_columns=(), id_column=spec.id_column if want_ids else None, values=values)


def _may_be_bad(group: Any, source: pq.ParquetFile, spec: ReadSpec) -> bool:
    """Whether a row group's statistics leave room for a null, or its id type for a number beyond int64."""
    if _is_uint64(spec, source.schema_arrow):
        return True
    proven = _proven_by_nulls(spec)
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema in proven:
            statistics = column.statistics
            if statistics is None or not statistics.has_null_count or statistics.null_count:
                return True
    return False
