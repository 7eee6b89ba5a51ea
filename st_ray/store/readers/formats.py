"""File name extensions: which format and compression a file name stands for."""

from __future__ import annotations

import posixpath

_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".text": "text",
}
_COMPRESSIONS = {".gz": "gz", ".zst": "zst"}
_TABLES = ("parquet", "arrow")

SUPPORTED = (
    "supported: Parquet (.parquet .pq), JSON lines (.jsonl .ndjson .json), CSV (.csv), TSV (.tsv), "
    "plain text (.txt .text), the text formats also as .gz or .zst; "
    "folders and globs of these, a saved datasets folder, a BEIR folder"
)


def classify(name: str) -> tuple[str, str] | None:
    """(format, compression) of a file name, compression empty for none; None where it is not supported."""
    stem, extension = posixpath.splitext(name.lower())
    compression = _COMPRESSIONS.get(extension, "")
    if compression:
        extension = posixpath.splitext(stem)[1]
    kind = _FORMATS.get(extension)
    if kind is None or (compression and kind in _TABLES):
        return None
    return kind, compression


def is_table(kind: str) -> bool:
    """Whether the format has a schema and typed columns of its own (Parquet, Arrow), and is no text format."""
    return kind in _TABLES
