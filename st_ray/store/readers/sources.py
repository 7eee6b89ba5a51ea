"""From what the user wrote to what is read: the list of files in order, and the columns that make a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from st_ray.core.errors import InputError
from st_ray.store.readers.columns import Columns, check_names, check_types, choose_text_columns
from st_ray.store.readers.files import read_blocks
from st_ray.store.readers.folders import expand
from st_ray.store.readers.formats import is_table
from st_ray.store.readers.spec import ReadSpec, SourceFile
from st_ray.store.readers.tables import table_columns
from st_ray.store.readers.text import is_delimited, take_head, text_format

_BEIR_ID_COLUMN = "_id"
_BEIR_TEXT_COLUMNS = ("title", "text")


def resolve_inputs(inputs: Sequence[str], spec: ReadSpec, *, texts: bool = True) -> tuple[list[SourceFile], ReadSpec]:
    """The files to read, in order, and `spec` with the columns that it leaves open chosen.

    Only the first file that has any content is opened; `scan_file` checks the others.

    Args:
        inputs: files, folders and globs, local or URLs; rows come in this order, a folder's and a glob's by path.
        spec: the columns that the user named. None named: `title` and `text` with ids from `_id` for a BEIR folder,
            the line itself for plain text, else `text` or the only string column.
        texts: whether rows have texts; False: nothing but value columns and ids is read.

    Raises:
        InputError: an input is missing, empty, unreadable, of an unknown type, or named twice; a column is missing,
            cannot hold what is asked of it, or none can be chosen.
    """
    if not inputs:
        raise InputError("no input was given", "name files, folders or globs with --input")
    found = [expand(given) for given in inputs]
    files = [file for one in found for file in one.files]
    _check_unique(files)
    _check_lists(files, spec)
    if spec.columns is not None and not any(is_delimited(file.format) for file in files):
        raise InputError(f"{files[0].url}: column names were given, but no input is CSV or TSV", "leave --columns out")
    if any(one.beir for one in found) and not spec.text_columns:
        spec = replace(spec, text_columns=_BEIR_TEXT_COLUMNS)
    if any(one.beir for one in found) and spec.id_column is None:
        spec = replace(spec, id_column=_BEIR_ID_COLUMN)
    for file in files:
        columns = _columns_of(file, spec)
        if columns:
            spec = choose_text_columns(spec, columns, file.url) if texts else spec
            check_names(spec, columns, file.url)
            if is_table(file.format):
                check_types(spec, columns, file.url)
            return files, spec
    if texts and not spec.text_columns:
        raise InputError(f"{files[0].url}: no input holds any row", "check the inputs, or name --text-columns")
    return files, spec


def holds_delimited(inputs: Sequence[str]) -> bool:
    """Whether any of the inputs is a CSV or TSV file, whose columns may have to be named. Raises InputError."""
    return any(is_delimited(file.format) for given in inputs for file in expand(given).files)


def input_columns(inputs: Sequence[str], spec: ReadSpec) -> Columns:
    """(name, kind) of the columns of the first file that has any.

    Raises:
        InputError: an input is missing, unreadable, or of an unknown type.
    """
    files = (file for given in inputs for file in expand(given).files)
    return next(filter(None, (_columns_of(file, spec) for file in files)), ())


def _columns_of(file: SourceFile, spec: ReadSpec) -> Columns:
    """The columns that a file shows; none where it is empty text. InputError where all of its rows would be bad."""
    if is_table(file.format):
        return table_columns(file.url, file.format)
    blocks = read_blocks(file.url, file.compression)
    head, blocks = take_head(blocks, file.format, spec, file.url)
    if file.format == "jsonl" and next(blocks, b"")[head.data_start :].lstrip().startswith(b"["):
        raise InputError(f"{file.url}: a JSON array, not JSON lines", "write one JSON object a line")
    if head.widths and len(head.fields) not in head.widths:
        raise InputError(
            f"{file.url}: {len(head.fields)} column names were given, but its rows have {head.widths[0]} fields",
            "name every column, in order",
        )
    return head.columns


def _check_unique(files: Sequence[SourceFile]) -> None:
    seen = set()
    for file in files:
        if file.url in seen:
            raise InputError(f"{file.url}: named twice by the inputs", "name each file once; do globs overlap?")
        seen.add(file.url)


def _check_lists(files: Sequence[SourceFile], spec: ReadSpec) -> None:
    """Raise InputError where a column of lists is asked of a format all of whose cells are strings."""
    lists = [column for column in spec.values if column.kind in ("texts", "numbers")]
    for file in files:
        if lists and not is_table(file.format) and not text_format(file.format, spec).typed:
            raise InputError(
                f"{file.url}: column {lists[0].name!r} is to hold lists of {lists[0].kind}, which a {file.format} file "
                "cannot",
                "use JSON lines or Parquet",
            )
