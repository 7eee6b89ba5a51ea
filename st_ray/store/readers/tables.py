"""Parquet and Arrow files as streams of record batches, from any row on, with only the columns that are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from st_ray.core.errors import InputError
from st_ray.store.readers.cells import column_values, is_list
from st_ray.store.readers.columns import LISTS_OF_NUMBERS, LISTS_OF_STRINGS, check_names, check_types
from st_ray.store.readers.files import column_buffer_bytes, open_table, reading
from st_ray.store.readers.rows import Cells, RowBatch, assemble
from st_ray.store.readers.spec import ReadSpec

_BATCH_ROWS = 8192


def schema_columns(schema: pa.Schema) -> tuple[tuple[str, str], ...]:
    """(name, kind) of each column: string, integer, null, list of strings or numbers, or the Arrow type's own name."""
    return tuple((field.name, _kind(field.type)) for field in schema)


def table_columns(url: str, kind: str) -> tuple[tuple[str, str], ...]:
    """(name, kind) of the columns of a Parquet or Arrow file."""
    if kind == "parquet":
        with open_parquet(url) as file:
            return schema_columns(file.schema_arrow)
    with open_arrow(url) as (_, schema):
        return schema_columns(schema)


def check_schema(spec: ReadSpec, schema: pa.Schema, url: str) -> None:
    """Raise InputError where the file lacks a column that is needed, or holds the wrong type there."""
    columns = schema_columns(schema)
    check_names(spec, columns, url)
    check_types(spec, columns, url)


@contextmanager
def open_parquet(url: str) -> Iterator[pq.ParquetFile]:
    """The opened Parquet file; its footer is read. InputError where it is damaged."""
    with reading(url), open_table(url, ahead=False) as source:
        yield pq.ParquetFile(source, buffer_size=column_buffer_bytes(url), pre_buffer=False)


def parquet_batches(
    file: pq.ParquetFile, columns: Sequence[str], first: int, rows: int, batch_rows: int = _BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Rows [first, first + rows) of the file: only the row groups that they overlap are touched."""
    groups: list[int] = []
    skip = start = 0
    for group in range(file.metadata.num_row_groups):
        end = start + file.metadata.row_group(group).num_rows
        if start < first + rows and end > first:
            if not groups:
                skip = first - start
            groups.append(group)
        start = end
    batches = file.iter_batches(batch_rows, row_groups=groups, columns=list(columns), use_threads=False)
    yield from _window(batches, skip, rows)


@contextmanager
def open_arrow(url: str) -> Iterator[tuple[pa.NativeFile, pa.Schema]]:
    """The opened Arrow stream behind its schema message. InputError where it is none."""
    with reading(url), open_table(url, ahead=True) as source:
        if source.read(6) == b"ARROW1":
            raise InputError(f"{url}: an Arrow file in random-access (Feather) format", "save it as Parquet")
        source.seek(0)
        yield source, pa.ipc.read_schema(source)


def arrow_messages(source: pa.NativeFile, schema: pa.Schema, url: str) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(byte offset of its message, record batch), from the source's position to the end of the stream.

    Raises:
        InputError: the stream has no end mark, so that it was cut short, or holds dictionaries.
    """
    while True:
        offset = source.tell()
        try:
            message = pa.ipc.read_message(source)
        except EOFError as error:
            if source.tell() == offset:
                raise InputError(
                    f"{url}: the Arrow stream is cut short: it has no end mark", "save it again"
                ) from error
            return
        if message.type != "record batch":
            raise InputError(
                f"{url}: a {message.type} message in the Arrow stream", "save it without dictionary columns"
            )
        yield offset, pa.ipc.read_record_batch(message, schema)


def arrow_batches(
    source: pa.NativeFile, schema: pa.Schema, url: str, offset: int, skip: int, rows: int
) -> Iterator[pa.RecordBatch]:
    """`rows` rows from the one `skip` rows behind the message at byte `offset`; 0: the first message."""
    if offset:
        source.seek(offset)
    yield from _window((batch for _, batch in arrow_messages(source, schema, url)), skip, rows)


def table_rows(batch: pa.RecordBatch, spec: ReadSpec, id_kind: str | None) -> RowBatch:
    """The rows of a record batch that has the columns that `spec` names."""
    cells = Cells(
        rows=batch.num_rows,
        texts=[column_values(batch.column(name)) for name in spec.text_columns],
        ids=None if spec.id_column is None else column_values(batch.column(spec.id_column)),
        values=[batch.column(column.name) for column in spec.values],
        bad={},
    )
    return assemble(cells, spec, id_kind)


def _window(batches: Iterator[pa.RecordBatch], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
    """The stream's rows [skip, skip + rows)."""
    for batch in batches:
        part = batch.slice(min(skip, batch.num_rows), rows)
        skip -= min(skip, batch.num_rows)
        rows -= part.num_rows
        if part.num_rows:
            yield part
        if rows <= 0:
            return


def _kind(kind: pa.DataType) -> str:
    if _is_string(kind):
        return "string"
    if pa.types.is_integer(kind):
        return "integer"
    # Of lists that are all empty, nothing says what they are lists of.
    if is_list(kind) and (_is_string(kind.value_type) or pa.types.is_null(kind.value_type)):
        return LISTS_OF_STRINGS
    if is_list(kind) and _is_number(kind.value_type):
        return LISTS_OF_NUMBERS
    return str(kind)


def _is_number(kind: pa.DataType) -> bool:
    is_some = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(test(kind) for test in is_some)


def _is_string(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)
