"""What is read: the columns that make a row's id and text, and the files that hold the rows."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    id_column: str | None = None
    text_columns: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    separator: str = " "
    quotes: bool = True

    def needed(self) -> tuple[str, ...]:
        """The columns to read: text columns, then the id column, each once."""
        names = (*self.text_columns, self.id_column) if self.id_column is not None else self.text_columns
        return tuple(dict.fromkeys(names))


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
