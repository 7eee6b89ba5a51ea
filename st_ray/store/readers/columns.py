"""Which columns to read: the defaults where none was named, and the check that a file has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from st_ray.core.errors import InputError
from st_ray.store.readers.spec import ReadSpec

DEFAULT_TEXT_COLUMN = "text"
# A column that holds nothing but nulls has no type of its own: its rows are bad rows, not the file.
_TEXT_KINDS = ("string", "null")
_ID_KINDS = ("string", "integer", "null")
LISTS_OF_STRINGS = "list of strings"
LISTS_OF_NUMBERS = "list of numbers"
_FLOAT_KINDS = ("halffloat", "float", "double")
_DECIMAL_KINDS = ("decimal32", "decimal64", "decimal128", "decimal256")
_NUMBER_KINDS = ("integer", "bool", *_FLOAT_KINDS, *_DECIMAL_KINDS, "null")
# Of a value column: what it must hold, in words, and the kinds of columns that can.
_VALUE_KINDS = {
    "text": ("strings", _TEXT_KINDS),
    "texts": ("lists of strings", (LISTS_OF_STRINGS, "null")),
    "number": ("numbers", _NUMBER_KINDS),
    "numbers": ("lists of numbers", (LISTS_OF_NUMBERS, "null")),
    "class": ("numbers", _NUMBER_KINDS),
    "id": ("strings or integers", _ID_KINDS),
    "ids": ("lists of ids in JSON lines", ("null",)),
    "id lists": ("lists of ids by name in JSON lines", ("null",)),
}

Columns = Sequence[tuple[str, str]]


def choose_text_columns(spec: ReadSpec, columns: Columns, url: str) -> ReadSpec:
    """`spec` with its text columns named: the user's, else `text`, else the only string column with no other use.

    Args:
        columns: (name, kind) of the columns of the first file that has any.

    Raises:
        InputError: none can be chosen; the message lists the columns.
    """
    if spec.text_columns:
        return spec
    used = {spec.id_column, *(column.name for column in spec.values)}
    strings = [name for name, kind in columns if kind == "string" and name not in used]
    chosen = DEFAULT_TEXT_COLUMN if DEFAULT_TEXT_COLUMN in strings else strings[0] if len(strings) == 1 else None
    if chosen is None:
        raise InputError(
            f"{url}: no text column was named, and there is neither a column 'text' nor a single string column; "
            f"columns found: {describe(columns)}",
            "name one with --text-columns",
        )
    return replace(spec, text_columns=(chosen,))


def check_names(spec: ReadSpec, columns: Columns, url: str) -> None:
    """Raise InputError, listing the columns found, where one that is needed is absent or ambiguous."""
    names = [name for name, _ in columns]
    labelled = any(column.kind not in ("text", "texts") for column in spec.values)
    flags = "--text-columns, --label-column" if labelled else "--text-columns"
    for needed in spec.needed():
        if names.count(needed) != 1:
            found = "no column" if needed not in names else f"{names.count(needed)} columns"
            raise InputError(
                f"{url}: {found} {needed!r}; columns found: {describe(columns)}",
                f"check {flags} and --id-column, and --columns for files without a header line",
            )


def check_types(spec: ReadSpec, columns: Columns, url: str) -> None:
    """Raise InputError where a column of a table does not hold what its use asks for."""
    kinds = dict(columns)
    for name in spec.text_columns:
        if kinds[name] not in _TEXT_KINDS:
            raise InputError(f"{url}: text column {name!r} holds {kinds[name]}, not strings", "cast it to string")
    if spec.id_column is not None and kinds[spec.id_column] not in _ID_KINDS:
        raise InputError(
            f"{url}: id column {spec.id_column!r} holds {kinds[spec.id_column]}, neither strings nor integers",
            "cast it, or leave --id-column out: rows are then numbered",
        )
    for column in spec.values:
        wanted, possible = _VALUE_KINDS[column.kind]
        # A decimal's kind goes on with its precision.
        if kinds[column.name].partition("(")[0] not in possible:
            raise InputError(
                f"{url}: column {column.name!r} holds {kinds[column.name]}, not {wanted}",
                f"name a column of {wanted}, or cast it",
            )


def describe(columns: Columns) -> str:
    """The columns for a message: `id (integer), text (string)`."""
    return ", ".join(f"{name} ({kind})" for name, kind in columns) or "none"
