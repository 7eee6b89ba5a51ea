"""Small tables in files, whole in memory: fields between tabs or blanks, JSON lines, or Parquet; errors name the line.

For what people and tools hand around beside the texts: judgements and runs.
"""

from __future__ import annotations

import io
import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from st_ray.core.errors import InputError
from st_ray.store.readers.files import read_blocks, reading

_KINDS = {".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
_COMPRESSIONS = {".gz": "gz", ".zst": "zst"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Layout:
    """What a file's rows are made of.

    Attributes:
        ids: columns of ids: strings or int64 in JSON lines and Parquet, strings in lines of fields.
        numbers: columns of numbers, with their types; JSON lines are read with these, other kinds as they are.
        fields: names of the fields of a line, in order, by how many there are.
        headers: first fields, in lower case, that make the first line a header.
        aliases: other names of columns in JSON lines and Parquet.
        optional: numbers that may be absent from JSON lines and Parquet.
    """

    ids: Sequence[str]
    numbers: Mapping[str, pa.DataType]
    fields: Mapping[int, Sequence[str]]
    headers: Sequence[str] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    optional: Sequence[str] = ()

    @property
    def columns(self) -> list[str]:
        """Ids, then numbers."""
        return [*self.ids, *self.numbers]


@dataclass(frozen=True)
class Rows:
    """The rows of a file, and where each stands.

    Attributes:
        url: the file.
        table: the layout's columns, without nulls; an absent optional one is left out.
        text: the file's text, None for Parquet.
        header: lines before the first row.
    """

    url: str
    table: pa.Table
    text: bytes | None = None
    header: int = 0

    def place(self, row: int) -> str:
        """`FILE, line 7` of the row number `row`."""
        if self.text is None:
            return f"{self.url}, row {row + 1}"
        filled = (number for number, line in enumerate(self.text.split(b"\n"), 1) if line.strip())
        return f"{self.url}, line {next(n for at, n in enumerate(filled) if at == row + self.header)}"

    def check_filled(self) -> Rows:
        """These rows. Raises InputError, by row, where a value is missing."""
        for name, column in zip(self.table.column_names, self.table.columns, strict=True):
            if column.null_count:
                row = column.is_null().index(True).as_py()
                raise InputError(f"{self.place(row)}: no {name}", "give every row all of its columns")
        return self


def kind_of(url: str) -> tuple[str, str]:
    """(parquet, jsonl or lines, compression) by the file's name; what is neither Parquet nor JSON lines is lines."""
    stem, extension = posixpath.splitext(url.lower())
    compression = _COMPRESSIONS.get(extension, "")
    return _KINDS.get(posixpath.splitext(stem)[1] if compression else extension, "lines"), compression


def read_rows(url: str, layout: Layout, kind: str = "", compression: str = "") -> Rows:
    """All rows of the file at `url`.

    Args:
        kind: parquet, jsonl or lines; empty: by the file's name, as the compression (gz, zst) then is.

    Raises:
        InputError: the file is missing or damaged, or a row is not what `layout` says: file and line are named.
    """
    if not kind:
        kind, compression = kind_of(url)
    data = b"".join(read_blocks(url, compression))
    if kind == "parquet":
        return _parquet_rows(url, data, layout).check_filled()
    data = data.removeprefix(_BYTE_ORDER_MARK)
    first = re.search(rb"[^\r\n]*[^\s][^\r\n]*", data)
    if first is None:
        return Rows(url, pa.table({name: pa.array([], pa.string()) for name in layout.columns}), data)
    read = _json_rows if kind == "jsonl" else _field_rows
    return read(url, data, first[0], layout).check_filled()


def _parquet_rows(url: str, data: bytes, layout: Layout) -> Rows:
    with reading(url):
        parquet = pq.ParquetFile(pa.BufferReader(data))
        names = _names_of(url, parquet.schema_arrow.names, layout)
        table = parquet.read(columns=list(names.values())).select(list(names.values()))
    return Rows(url, table.rename_columns(list(names)))


def _names_of(url: str, found: Sequence[str], layout: Layout) -> dict[str, str]:
    """The file's name of each of the layout's columns. Raises InputError where one is absent."""
    own = {layout.aliases.get(name, name): name for name in found}
    missing = [name for name in layout.columns if name not in own and name not in layout.optional]
    if missing:
        raise InputError(
            f"{url} has no column {', '.join(missing)} (it has {', '.join(found)})",
            f"name a file with the columns {', '.join(layout.columns)}",
        )
    return {name: own[name] for name in layout.columns if name in own}


def _json_rows(url: str, data: bytes, first: bytes, layout: Layout) -> Rows:
    names: dict[str, str] = {}
    try:
        row = json.loads(first)
        if not isinstance(row, dict):
            raise ValueError("not an object")
        names = _names_of(url, list(row), layout)
        # Types are given, since Arrow would take a string that looks like a date for one.
        types = {name: pa.int64() if isinstance(row[names[name]], int) else pa.string() for name in layout.ids}
        types |= layout.numbers
        schema = pa.schema([(own, types[name]) for name, own in names.items()])
        options = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        table = pyarrow.json.read_json(pa.BufferReader(data), parse_options=options)
    except (ValueError, pa.ArrowException) as error:  # json's errors are ValueErrors
        raise _bad_json(url, data, set(names.values()), error) from error
    return Rows(url, table.select(list(names.values())).rename_columns(list(names)), data)


def _bad_json(url: str, data: bytes, names: set[str], error: Exception) -> InputError:
    """The first line that is not an object, or whose `names` have values of another type than in the first line."""
    types: dict[str, type] = {}
    remedy = "write one JSON object a line, each id always as a string or always as an integer"
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            row = json.loads(line) if line.strip() else {}
        except ValueError as cause:
            return InputError(f"{url}, line {number}: not JSON: {cause}", remedy)
        if not isinstance(row, dict):
            return InputError(f"{url}, line {number}: not a JSON object", remedy)
        for name in names & row.keys():
            value = row[name]
            kind = float if type(value) is int and types.get(name) is float else type(value)
            if value is not None and types.setdefault(name, kind) is not kind:
                wanted, found = types[name].__name__, type(value).__name__
                return InputError(f"{url}, line {number}: {name} is {value!r}, {found} where it was {wanted}", remedy)
    return InputError(f"{url}: cannot be read: {error}", remedy)


def _field_rows(url: str, data: bytes, first: bytes, layout: Layout) -> Rows:
    # A tab between fields leaves blanks to the ids; else any run of blanks is one separator.
    delimiter = b"\t" if first.count(b"\t") + 1 in layout.fields else b" "
    head = _fields(first, delimiter)
    names = layout.fields.get(len(head))
    if names is None:
        raise _bad_fields(url, data, delimiter, 0, layout)
    header = int(head[0].decode(errors="replace").lower() in layout.headers)
    text = data if delimiter == b"\t" else _single_spaced(data)
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(text),
            read_options=pyarrow.csv.ReadOptions(column_names=list(names), skip_rows_after_names=header),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter.decode(), quote_char=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in names}, include_columns=layout.columns
            ),
        )
    except pa.ArrowException as error:
        raise _bad_fields(url, data, delimiter, len(names), layout) from error
    return Rows(url, table, data, header)


def _fields(line: bytes, delimiter: bytes) -> list[bytes]:
    return line.strip(b"\r\n").split(b"\t") if delimiter == b"\t" else line.split()


def _single_spaced(data: bytes) -> bytes:
    """`data` with one blank between fields and none around a line."""
    if b"\t" in data or b"  " in data:
        data = re.sub(rb"[ \t]+", b" ", data)
    if data.startswith(b" ") or b"\n " in data or b" \n" in data or b" \r" in data:
        data = re.sub(rb"(?m)^ | (?=\r?$)", b"", data)
    return data


def _bad_fields(url: str, data: bytes, delimiter: bytes, width: int, layout: Layout) -> InputError:
    """The first line that has another number of fields than `width` (0: than any layout), or is not UTF-8."""
    expected = " or ".join(f"{len(names)} ({' '.join(names)})" for names in layout.fields.values())
    remedy = f"write {expected} fields a line"
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        found = len(_fields(line, delimiter))
        if found != width and not (width == 0 and found in layout.fields):
            return InputError(f"{url}, line {number}: {found} fields where {width or expected} are expected", remedy)
        try:
            line.decode()
        except UnicodeDecodeError as error:
            return InputError(f"{url}, line {number}: not UTF-8: {error}", "write the file in UTF-8")
    return InputError(f"{url}: cannot be read", remedy)


def numbers_of(rows: Rows, name: str, to: pa.DataType) -> Any:
    """Column `name` as numbers of type `to`: an Arrow array.

    Raises:
        InputError: a value is no such number (a fraction where `to` is an integer, say); its line is named.
    """
    column = rows.table[name].combine_chunks()
    try:
        return column.cast(to)
    except pa.ArrowException:
        for row, value in enumerate(column):
            try:
                value.cast(to)
            except pa.ArrowException:
                kind = "a whole number" if pa.types.is_integer(to) else "a number"
                raise InputError(
                    f"{rows.place(row)}: {name} {value.as_py()!r} is not {kind}", "mend the line or leave it out"
                ) from None
        raise


def ids_of(rows: Rows, name: str) -> Any:
    """Column `name` as an Arrow array of strings or int64. Raises InputError where it holds anything else."""
    column = rows.table[name].combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.string())  # no value is null: a column of that type has no rows
    if pa.types.is_integer(column.type):
        return column.cast(pa.int64())
    raise InputError(f"{rows.url}: {name} is {column.type}, not a string or an integer", "write ids as strings")
