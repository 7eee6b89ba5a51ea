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

Columns = Sequence[tuple[str, str]]


def choose_text_columns(spec: ReadSpec, columns: Columns, url: str) -> ReadSpec:
    """`spec` with its text columns named: the user's, else `text`, else the only string column but the id's.

    Args:
        columns: (name, kind) of the columns of the first file that has any.

    Raises:
        InputError: none can be chosen; the message lists the columns.
    """
    if spec.text_columns:
        return spec
    strings = [name for name, kind in columns if kind == "string" and name != spec.id_column]
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
    for needed in spec.needed():
        if names.count(needed) != 1:
            found = "no column" if needed not in names else f"{names.count(needed)} columns"
            raise InputError(
                f"{url}: {found} {needed!r}; columns found: {describe(columns)}",
                "check --text-columns and --id-column, and --columns for files without a header line",
            )


def check_types(spec: ReadSpec, columns: Columns, url: str) -> None:
    """Raise InputError where a text column does not hold strings, or the id column neither strings nor integers."""
    kinds = dict(columns)
    for name in spec.text_columns:
        if kinds[name] not in _TEXT_KINDS:
            raise InputError(f"{url}: text column {name!r} holds {kinds[name]}, not strings", "cast it to string")
    if spec.id_column is not None and kinds[spec.id_column] not in _ID_KINDS:
        raise InputError(
            f"{url}: id column {spec.id_column!r} holds {kinds[spec.id_column]}, neither strings nor integers",
            "cast it, or leave --id-column out: rows are then numbered",
        )


def describe(columns: Columns) -> str:
    """The columns for a message: `id (integer), text (string)`."""
    return ", ".join(f"{name} ({kind})" for name, kind in columns) or "none"
