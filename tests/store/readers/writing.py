"""Writes rows in every format that the readers read, and reads them back through the whole chain."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from st_ray.store.readers import FileScan, ReadSpec, TextBlock, cut_shards, read_shard, resolve_inputs, scan_file

Row = tuple[Any, str]
SPEC = ReadSpec(id_column="id", text_columns=("text",))


def jsonl_bytes(rows: Sequence[Row], ensure_ascii: bool = True) -> bytes:
    return "".join(json.dumps({"id": i, "text": t}, ensure_ascii=ensure_ascii) + "\n" for i, t in rows).encode()


def csv_bytes(rows: Sequence[Row], delimiter: str = ",", header: bool = True) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    if header:
        writer.writerow(["id", "text"])
    writer.writerows(rows)
    return out.getvalue().encode()


def table(rows: Sequence[Row], text_type: pa.DataType | None = None) -> pa.Table:
    ids = [i for i, _ in rows]
    id_type = pa.int64() if ids and isinstance(ids[0], int) else pa.string()
    texts = pa.array([t for _, t in rows], pa.string())
    if text_type is not None:
        texts = texts.dictionary_encode() if pa.types.is_dictionary(text_type) else texts.cast(text_type)
    return pa.table({"text": texts, "other": pa.nulls(len(rows)), "id": pa.array(ids, id_type)})


def parquet_bytes(rows: Sequence[Row], row_group_size: int = 3, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table(rows, options.pop("text_type", None)), out, row_group_size=row_group_size, **options)
    return out.getvalue()


def arrow_bytes(rows: Sequence[Row], batch_rows: int = 2) -> bytes:
    out = io.BytesIO()
    content = table(rows)
    with pa.ipc.new_stream(out, content.schema) as writer:
        writer.write_table(content, max_chunksize=batch_rows)
    return out.getvalue()


def text_bytes(rows: Sequence[Row]) -> bytes:
    return "".join(text + "\n" for _, text in rows).encode()


def encode(extension: str, rows: Sequence[Row]) -> bytes:
    """The bytes of a file `x.extension` that holds `rows`."""
    kind, _, compression = extension.partition(".")
    data = {
        "jsonl": jsonl_bytes,
        "csv": csv_bytes,
        "tsv": lambda rows: csv_bytes(rows, "\t"),
        "txt": text_bytes,
        "parquet": parquet_bytes,
        "arrow": arrow_bytes,
    }[kind](rows)
    return compress(data, compression)


def compress(data: bytes, compression: str) -> bytes:
    if compression == "gz":
        return gzip.compress(data)
    return zstandard.compress(data) if compression == "zst" else data


def scan_all(
    inputs: Sequence[Path | str],
    spec: ReadSpec,
    mark_every: int = 1000,
    staging: Path | str | None = None,
    **options: Any,
) -> tuple[list[Any], ReadSpec, list[FileScan]]:
    """Resolve and scan."""
    files, spec = resolve_inputs([str(given) for given in inputs], spec)
    options.setdefault("want_ids", True)
    folder = None if staging is None else str(staging)
    return files, spec, [scan_file(file, spec, mark_every=mark_every, staging=folder, **options) for file in files]


def read_all(
    inputs: Sequence[Path | str],
    spec: ReadSpec = SPEC,
    shard_rows: int = 1000,
    on_bad_row: Literal["fail", "skip"] = "fail",
    **options: Any,
) -> tuple[list[TextBlock], list[FileScan]]:
    """Resolve, scan, cut and read: the shards' contents, and the scans."""
    files, spec, scans = scan_all(inputs, spec, **options)
    plans = cut_shards(files, scans, shard_rows)
    assert all(plan.rows == shard_rows for plan in plans[:-1])
    assert sum(plan.rows for plan in plans) == sum(scan.rows for scan in scans)
    assert [plan.first_row for plan in plans] == [number * shard_rows for number in range(len(plans))]
    return [read_shard(plan, spec, on_bad_row=on_bad_row) for plan in plans], scans


def rows_of(blocks: Sequence[TextBlock]) -> list[tuple[int, Any, str]]:
    """(global row, id, text) of all rows."""
    return [
        (int(row), row_id, text)
        for block in blocks
        for row, row_id, text in zip(block.rows, block.ids.to_pylist(), block.texts, strict=True)
    ]


def rejects_of(blocks: Sequence[TextBlock]) -> list[dict[str, Any]]:
    return [reject for block in blocks for reject in block.rejects.to_pylist()]


def encode_records(extension: str, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> bytes:
    """The bytes of a file `x.extension` that holds `rows`, whatever their columns: those of `schema`, in its types."""
    kind, _, compression = extension.partition(".")
    if kind == "jsonl":
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    elif kind in ("csv", "tsv"):
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, schema.names, delimiter="," if kind == "csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
        data = out.getvalue().encode()
    else:
        data = table_bytes(kind, pa.Table.from_pylist(list(rows), schema))
    return compress(data, compression)


def table_bytes(kind: str, content: pa.Table, **options: Any) -> bytes:
    """The bytes of a Parquet or Arrow file that holds `content`, in small row groups or batches."""
    out = io.BytesIO()
    if kind == "parquet":
        pq.write_table(content, out, row_group_size=3, **options)
    else:
        with pa.ipc.new_stream(out, content.schema) as writer:
            writer.write_table(content, max_chunksize=2)
    return out.getvalue()


def values_of(blocks: Sequence[TextBlock]) -> list[tuple[Any, ...]]:
    """(text, value, …) of all rows."""
    return [
        row for block in blocks for row in zip(block.texts, *(array.to_pylist() for array in block.values), strict=True)
    ]
