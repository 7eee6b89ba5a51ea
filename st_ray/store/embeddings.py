"""The embedding store's parts: their Arrow schema, and how one is written and read."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from st_ray.core.errors import InputError
from st_ray.store import fs
from st_ray.store.manifest import Manifest, ShardEntry, read_manifest_of

KIND = "embeddings"
ROW_GROUP_ROWS = 8192
_ELEMENT = "embedding.list.element"


def text_digests(texts: Sequence[str]) -> pa.FixedSizeBinaryArray:
    """blake2b-128 of each text's UTF-8 bytes, as fixed-size binary [n]; lone surrogates are kept."""
    digests = b"".join(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts
    )
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(texts), [None, pa.py_buffer(digests)])


def embedding_column(embeddings: np.ndarray) -> pa.FixedSizeListArray:
    """`[n, d]` of any numeric dtype as fixed_size_list[d], without a copy where the array is contiguous."""
    rows, dimension = embeddings.shape
    values = pa.array(np.ascontiguousarray(embeddings).reshape(rows * dimension))
    return pa.FixedSizeListArray.from_arrays(values, dimension)


def embedding_array(column: pa.ChunkedArray | pa.FixedSizeListArray) -> np.ndarray:
    """The inverse of `embedding_column`: `[n, d]`."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)


def part_bytes(meta: pa.Table, embeddings: np.ndarray) -> bytes:
    """One part as Parquet: `meta`'s columns (id, row, text_digest, text if kept) and `embedding`.

    Floats do not compress, so that column is stored as it is; the others are zstd. The same input gives the same bytes.
    """
    columns = ["id", "row", "text_digest", "embedding", *(["text"] if "text" in meta.column_names else [])]
    table = meta.append_column("embedding", embedding_column(embeddings)).select(columns)
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP_ROWS,
        use_dictionary=False,
        compression={_ELEMENT: "none", **{name: "zstd" for name in columns if name != "embedding"}},
        write_statistics=["id", "row"],
    )
    return sink.getvalue()


def parquet_bytes(table: pa.Table) -> bytes:
    """`table` as one Parquet file.

    One without rows has no row group either: `datasets` fails at a row group without rows.
    """
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        if len(table):
            writer.write_table(table)
    return sink.getvalue()


def open_embeddings(folder: str) -> Manifest:
    """The manifest of a finished embedding store. Raises InputError if `folder` holds anything else."""
    return read_manifest_of(folder, KIND, "name the output of jobs.encode")


def read_part(folder: str, entry: ShardEntry, columns: Sequence[str], rows: range | None = None) -> Iterator[pa.Table]:
    """Row group by row group, the named columns of one part, so that memory does not depend on the part's size.

    Args:
        rows: of the part, one after the other; all of them by default. Row groups beside them are not read.

    Raises:
        InputError: the part is missing, cut short or not Parquet; it is named.
    """
    first, last = (rows.start, rows.stop) if rows is not None else (0, entry.rows)
    with _opened(folder, entry) as parquet:
        for group, start, count in _row_groups(parquet):
            low, high = max(first - start, 0), min(last - start, count)
            if low < high:
                yield parquet.read_row_group(group, columns=list(columns)).slice(low, high - low)


def take_rows(
    folder: str, entry: ShardEntry, columns: Sequence[str], rows: np.ndarray
) -> Iterator[tuple[slice, pa.Table]]:
    """Row group by row group, the named columns of some rows of one part; row groups without any are not read.

    Args:
        rows: of the part, int64 `[m]`, rising; a row may be repeated.

    Yields:
        the places in `rows` that a row group holds, and those rows.

    Raises:
        InputError: the part is missing, cut short or not Parquet, or has no such column; it is named.
    """
    with _opened(folder, entry) as parquet:
        absent = [name for name in columns if name not in parquet.schema_arrow.names]
        if absent:
            remedy = "encode again with --keep-text" if absent == ["text"] else "make the embeddings again"
            raise InputError(f"{fs.join(folder, 'data', entry.name)} has no column {absent[0]}", remedy)
        for group, start, count in _row_groups(parquet):
            low, high = np.searchsorted(rows, [start, start + count]).tolist()
            if low < high:
                table = parquet.read_row_group(group, columns=list(columns))
                yield slice(low, high), table.take(pa.array(rows[low:high] - start))


@contextmanager
def _opened(folder: str, entry: ShardEntry) -> Iterator[Any]:
    """The part as a Parquet file; what goes wrong with it names it."""
    url = fs.join(folder, "data", entry.name)
    try:
        filesystem, path = fs.open_fs(url)
        with filesystem.open(path, "rb") as file:
            parquet: Any = pq.ParquetFile(file)
            if parquet.metadata.num_rows != entry.rows:
                raise InputError(
                    f"{url} has {parquet.metadata.num_rows} rows, its manifest says {entry.rows}",
                    "make the embeddings again",
                )
            yield parquet
    except (OSError, pa.ArrowException) as error:
        damaged = InputError(f"cannot read {url}: {error}", "make the embeddings again with jobs.encode")
        raise fs.failure_of(url, error) or damaged from error


def _row_groups(parquet: Any) -> Iterator[tuple[int, int, int]]:
    """Number, first row and rows of each."""
    start = 0
    for group in range(parquet.num_row_groups):
        count = parquet.metadata.row_group(group).num_rows
        yield group, start, count
        start += count
