"""Text files as streams of records: the head of a file, then its records block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from st_ray.core.errors import InputError
from st_ray.store.readers.delimited import Delimited
from st_ray.store.readers.jsonl import JsonLines, keys
from st_ray.store.readers.records import MAX_RECORD_BYTES, PLAIN_COLUMN, PlainLines, Records, TextFormat
from st_ray.store.readers.rows import Cells, RowBatch, assemble
from st_ray.store.readers.spec import ReadSpec, ValueColumn
from st_ray.store.readers.values import parse_numbers

_DELIMITERS = {"csv": ",", "tsv": "\t"}
_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_HEAD_BYTES = 64 << 10
_SAMPLE_ROWS = 100


@dataclass(frozen=True)
class Head:
    """What the beginning of a text file says.

    Attributes:
        columns: (name, kind) of each column; of JSON lines, those of the first rows. Empty: an empty file.
        data_start: the byte at which rows begin, behind a byte order mark and a header line.
        fields: the columns of CSV and TSV in order, else ().
        widths: how many fields the first rows of CSV and TSV without a header line have.
    """

    columns: tuple[tuple[str, str], ...]
    data_start: int
    fields: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()


def is_delimited(kind: str) -> bool:
    """Whether the format is CSV or TSV."""
    return kind in _DELIMITERS


def text_format(kind: str, spec: ReadSpec, fields: tuple[str, ...] = ()) -> TextFormat:
    """The parser of a text format; `fields`: the columns of CSV and TSV."""
    if is_delimited(kind):
        return Delimited(_DELIMITERS[kind], spec.quotes, fields)
    return JsonLines() if kind == "jsonl" else PlainLines()


def take_head(blocks: Iterator[bytes], kind: str, spec: ReadSpec, url: str) -> tuple[Head, Iterator[bytes]]:
    """The head of a file, and its blocks again from the beginning.

    Raises:
        InputError: UTF-16, or a header line that cannot be read.
    """
    parser = text_format(kind, spec)
    data = b""
    size = _HEAD_BYTES
    while True:
        while len(data) < size and (block := next(blocks, b"")):
            data += block
        final = len(data) < size
        mark = len(_BOM) if data.startswith(_BOM) else 0
        records = parser.split(data[mark:size], final)
        if len(records) or final or size > MAX_RECORD_BYTES:
            break
        size *= 4
    if data.startswith(_UTF16_BOMS):
        raise InputError(f"{url}: UTF-16 text", "convert it to UTF-8")
    if is_delimited(kind):
        head = _delimited_head(records, mark, spec, url)
    elif kind == "jsonl":
        head = Head(keys(records.values[:_SAMPLE_ROWS]), mark)
    else:
        head = Head(((PLAIN_COLUMN, "string"),) if len(records) else (), mark)
    return head, chain([data], blocks)


def record_stream(blocks: Iterable[bytes], parser: TextFormat, url: str) -> Iterator[Records]:
    """All records of a stream that begins at a record, block by block. Memory: one block, or one record if longer.

    Raises:
        InputError: a record is longer than MAX_RECORD_BYTES.
    """
    rest = b""
    fresh: list[bytes] = []
    size = 0
    for block in blocks:
        fresh.append(block)
        size += len(block)
        # A record longer than a block is not parsed again before it has doubled: linear, not quadratic.
        if size < len(rest):
            continue
        records = parser.split(b"".join([rest, *fresh]), final=False)
        yield records
        rest, fresh, size = records.data[records.used :], [], 0
        if len(rest) > MAX_RECORD_BYTES:
            raise InputError(
                f"{url}: a record longer than {MAX_RECORD_BYTES >> 20} MiB",
                "check the file's format, and for a quote that is never closed",
            )
    if rest or fresh:
        yield parser.split(b"".join([rest, *fresh]), final=True)


def text_rows(records: Records, parser: TextFormat, spec: ReadSpec, id_kind: str | None) -> RowBatch:
    """The rows that the records make."""
    cells = Cells(
        rows=len(records),
        texts=[parser.column(records, name) for name in spec.text_columns],
        ids=None if spec.id_column is None else parser.column(records, spec.id_column),
        values=[_values(records, parser, column) for column in spec.values],
        bad=records.bad,
    )
    return assemble(cells, spec, id_kind)


def _values(records: Records, parser: TextFormat, column: ValueColumn) -> list[Any]:
    values = parser.column(records, column.name)
    return parse_numbers(values, column.kind) if not parser.typed and column.kind in ("number", "class") else values


def _delimited_head(records: Records, mark: int, spec: ReadSpec, url: str) -> Head:
    """The head of a CSV or TSV file: its header line, or the names given for it."""
    if spec.columns is not None:
        widths = sorted({len(record) for record in records.values[:_SAMPLE_ROWS]})
        return Head(_strings(spec.columns), mark, spec.columns, tuple(widths))
    if not len(records):
        return Head((), mark)
    if 0 in records.bad:
        raise InputError(f"{url}: the header line cannot be read: {records.bad[0]}", "repair the header line")
    header = tuple(records.values[0])
    data_start = mark + (int(records.starts[1]) if len(records) > 1 else records.used)
    return Head(_strings(header), data_start, header)


def _strings(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, "string") for name in names)
