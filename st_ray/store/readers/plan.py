"""The cut: scanned files become shards of equal length, each a list of row ranges with the places to begin reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from st_ray.core.errors import InputError
from st_ray.store.readers.scan import FileScan
from st_ray.store.readers.spec import SourceFile
from st_ray.store.readers.staging import Chunks


@dataclass(frozen=True)
class Segment:
    """Rows [start_row, start_row + rows) of one file, and where to begin and end reading.

    Attributes:
        file: the file.
        start_row: the first row, counted in the file.
        rows: how many.
        seek_row: a row at or before `start_row` ...
        seek_byte: ... and the byte at which it begins.
        end_byte: a byte at or behind the end of the last row, at a row's beginning; None: the end of the file.
        fields: the columns of a CSV or TSV file in order, else ().
        chunks: where the rows of a compressed text file lie in a form that can be sought; None: read the file itself.
    """

    file: SourceFile
    start_row: int
    rows: int
    seek_row: int
    seek_byte: int
    end_byte: int | None
    fields: tuple[str, ...]
    chunks: Chunks | None


@dataclass(frozen=True)
class ShardPlan:
    """One shard: rows [first_row, first_row + rows) of the corpus, which are those of `segments` in order.

    Attributes:
        number: the shard's, from 0.
        first_row: the global number of its first row.
        rows: how many, bad ones included.
        id_kind: what the ids of the whole corpus are: string or int64; None where there is no id column.
        segments: at least one.
    """

    number: int
    first_row: int
    rows: int
    id_kind: str | None
    segments: tuple[Segment, ...]


def cut_shards(files: Sequence[SourceFile], scans: Sequence[FileScan], shard_rows: int) -> list[ShardPlan]:
    """Shards of exactly `shard_rows` rows, the last one shorter, over the files in order. O(shards + files).

    Args:
        scans: one a file, in the same order.

    Raises:
        InputError: the ids of two files are of different kinds.
        ValueError: the scans are not those of the files, or `shard_rows` is less than 1.
    """
    if [file.url for file in files] != [scan.url for scan in scans]:
        raise ValueError("one scan a file, in the same order")
    if shard_rows < 1:
        raise ValueError(f"shard_rows must be at least 1, not {shard_rows}")
    id_kind = _common_id_kind(scans)
    shards: list[ShardPlan] = []
    segments: list[Segment] = []
    filled = 0

    def close() -> None:
        nonlocal segments, filled
        shards.append(ShardPlan(len(shards), len(shards) * shard_rows, filled, id_kind, tuple(segments)))
        segments, filled = [], 0

    for file, scan in zip(files, scans, strict=True):
        at = 0
        while at < scan.rows:
            take = min(shard_rows - filled, scan.rows - at)
            segments.append(_segment(file, scan, at, take))
            at += take
            filled += take
            if filled == shard_rows:
                close()
    if filled:
        close()
    return shards


def _segment(file: SourceFile, scan: FileScan, start: int, rows: int) -> Segment:
    marked = scan.marks[:, 0]
    before = int(np.searchsorted(marked, start, side="right")) - 1
    behind = int(np.searchsorted(marked, start + rows, side="left"))
    return Segment(
        file,
        start,
        rows,
        seek_row=int(marked[before]),
        seek_byte=int(scan.marks[before, 1]),
        end_byte=int(scan.marks[behind, 1]) if behind < len(marked) else None,
        fields=scan.fields,
        chunks=scan.chunks,
    )


def _common_id_kind(scans: Sequence[FileScan]) -> str | None:
    """The kind of the corpus's ids, which is one."""
    first: FileScan | None = None
    for scan in scans:
        if scan.id_kind is None:
            continue
        if first is None:
            first = scan
        elif scan.id_kind != first.id_kind:
            raise InputError(
                f"ids are {first.id_kind} in {first.url} but {scan.id_kind} in {scan.url}",
                "make them all strings or all integers, or leave --id-column out",
            )
    return None if first is None else first.id_kind
