"""Texts laid out for those who will read them: a Parquet file of row groups, each of which is for one reader."""

from __future__ import annotations

import io
import json
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from st_ray.core.errors import InputError
from st_ray.store.readers.files import open_table, reading

_READERS = b"readers"


def staged_texts_bytes(readers: np.ndarray, numbers: np.ndarray, texts: pa.Array, position: np.ndarray) -> bytes:
    """One file. The same input gives the same bytes.

    Args:
        readers: int32 `[n]`, ascending: for whom a text is.
        numbers: int32 `[n]`, what the reader knows it by.
        texts: `[m]` large_string.
        position: int64 `[n]`, which of `texts` it is.
    """
    names, starts = np.unique(readers, return_index=True)
    fields = [pa.field("number", pa.int32()), pa.field("text", pa.large_string())]
    schema = pa.schema(fields, metadata={_READERS: json.dumps(names.tolist()).encode()})
    sink = io.BytesIO()
    options = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
    with pq.ParquetWriter(sink, schema, **options) as writer:
        for first, last in zip(starts, [*starts[1:], len(readers)], strict=True):
            chosen = texts.take(pa.array(position[first:last]))
            table = pa.table([pa.array(numbers[first:last], pa.int32()), chosen], schema=schema)
            writer.write_table(table, row_group_size=last - first)
    return sink.getvalue()


def read_staged_texts(urls: Sequence[str], reader: int, count: int) -> list[str]:
    """The texts for one reader, number 0 to `count`, of whatever files have any.

    Raises:
        InputError: a file is missing or damaged, or a text is in none of them.
    """
    numbers, texts = find_staged_texts(urls, reader)
    if not np.array_equal(numbers, np.arange(count)):
        where = urls[0] if urls else "nowhere"
        raise InputError(
            f"{where} and others should hold {count} texts for {reader}, but hold {len(numbers)}",
            "start the job again with --overwrite",
        )
    return texts


def find_staged_texts(urls: Sequence[str], reader: int) -> tuple[np.ndarray, list[str]]:
    """The texts for one reader, `[n]`, of whatever files have any, and their numbers, int32 `[n]`, ascending.

    Raises:
        InputError: a file is missing or damaged.
    """
    tables = [table for url in urls if (table := _row_group(url, reader)) is not None]
    if not tables:
        return np.empty(0, np.int32), []
    table = pa.concat_tables(tables)
    numbers = table["number"].to_numpy()
    order = np.argsort(numbers)
    return numbers[order], table["text"].take(pa.array(order)).to_pylist()


def _row_group(url: str, reader: int) -> pa.Table | None:
    with reading(url), open_table(url, ahead=False) as source:
        parquet = pq.ParquetFile(source)
        readers = json.loads(parquet.schema_arrow.metadata[_READERS])
        at = bisect_left(readers, reader)
        return parquet.read_row_group(at) if readers[at : at + 1] == [reader] else None
