"""What is read: the columns that make a row's id, text and values, and the files that hold the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import pyarrow as pa


@dataclass(frozen=True)
class ValueColumn:
    """A column that is read beside the text, each value by itself.

    Attributes:
        name: the column's; it may be a text column too.
        kind: what a value must be. text: a string, which may be empty; texts: a list of strings, which may be empty;
            number: a finite number, True being 1; numbers: a list of such, which may be empty; class: a whole number
            (3, 3.0 or True) that is one of the classes. id: a string or an integer, read as its text; ids: a list of
            such; id lists: an object of such lists by name, in JSON lines alone as ids are. CSV, TSV and plain text
            hold strings alone: numbers and classes are parsed there, and there are no lists.
        classes: of `class`: values are 0 to classes - 1; None: any whole number from 0 on that fits int64.
    """

    name: str
    kind: Literal["text", "texts", "number", "numbers", "class", "id", "ids", "id lists"]
    classes: int | None = None


class RowCheck(Protocol):
    """What the values of a row must be beside the kinds of their columns. Picklable."""

    def __call__(self, values: Mapping[str, pa.Array]) -> Mapping[int, str]:
        """Index -> reason, for rows that cannot be used.

        Args:
            values: the value columns, by name, but for those of kind text; rows that are bad already hold null there,
                or anything.
        """


@dataclass(frozen=True)
class ReadSpec:
    """Which columns make a row.

    Attributes:
        id_column: the column of the row's id (strings or integers); None: the global row number is the id.
        text_columns: a row's text is these columns joined by `separator`, empty strings included. Empty: not
            named yet; `resolve_inputs` fills it in.
        columns: the names of the columns of CSV or TSV files without a header line; None: they have one.
        separator: what stands between the text columns.
        quotes: whether a double quote opens a quoted field in CSV and TSV; False: quotes are plain characters.
        values: the columns that are read beside the text.
        check: finds further rows that cannot be used; None: there are none.
    """

    id_column: str | None = None
    text_columns: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    separator: str = " "
    quotes: bool = True
    values: tuple[ValueColumn, ...] = ()
    check: RowCheck | None = None

    def needed(self) -> tuple[str, ...]:
        """The columns to read: text columns, then the id column, then value columns, each once."""
        names = (*self.text_columns, self.id_column, *(column.name for column in self.values))
        return tuple(dict.fromkeys(name for name in names if name is not None))


@dataclass(frozen=True)
class SourceFile:
    """One input file as it was when the inputs were resolved.

    Attributes:
        url: an absolute local path or an fsspec URL.
        format: parquet, arrow, jsonl, csv, tsv or text.
        compression: gz, zst, or empty.
        size: bytes.
        stamp: changes with the content: the etag on object stores, the modification time in ns on local files.
    """

    url: str
    format: str
    compression: str
    size: int
    stamp: str
