"""What is read: the columns that make a row's id, text and values, and the files that hold the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ValueColumn:
    """A column that is read beside the text, each value by itself.

    Attributes:
        name: the column's; it may be a text column too.
        kind: what a value must be. text: a string, which may be empty; texts: a list of strings, which may be empty;
            number: a finite number, True being 1; class: a whole number (3, 3.0 or True) that is one of the classes.
            id: a string or an integer, read as its text; ids: a list of such; id lists: an object of such lists by
            name, in JSON lines alone as ids are. CSV, TSV and plain text hold strings alone: numbers and classes are
            parsed there, and there are no lists.
        classes: of `class`: values are 0 to classes - 1; None: any whole number from 0 on that fits int64.
    """

    name: str
    kind: Literal["text", "texts", "number", "class", "id", "ids", "id lists"]
    classes: int | None = None


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
    """

    id_column: str | None = None
    text_columns: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    separator: str = " "
    quotes: bool = True
    values: tuple[ValueColumn, ...] = ()

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
