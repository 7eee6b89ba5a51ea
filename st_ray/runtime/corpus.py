"""From input files to a checked, counted and cut corpus: scans run in this process when small, else as Ray tasks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from st_ray.core.errors import InputError, StRayError
from st_ray.runtime.pipeline import result_of
from st_ray.store.lineage import Lineage
from st_ray.store.readers.duplicates import HashedRows, find_duplicates, partition_hashes
from st_ray.store.readers.plan import ShardPlan, cut_shards
from st_ray.store.readers.scan import FileScan, scan_file
from st_ray.store.readers.spec import ReadSpec, SourceFile

IN_PROCESS_BYTES = 256 << 20
"""Inputs up to this size are scanned before Ray starts, so that a mistake in them shows at once."""
_BYTES_PER_BUCKET = 1 << 30
_MAX_SHOWN = 5
_TEXT_FLAGS = re.compile(r"--(id-column|text-columns|columns)\b")


@dataclass(frozen=True)
class Corpus:
    """A checked input.

    Attributes:
        shards: the plan, in row order.
        rows: rows in all files, bad ones included.
        bad_rows: rows that cannot be used (they are skipped; with `fail` there are none).
        digest: content of all files in order.
        stamps: their sizes and modification stamps: equal stamps mean there is no need to scan again.
    """

    files: tuple[SourceFile, ...]
    spec: ReadSpec
    shards: tuple[ShardPlan, ...]
    rows: int
    bad_rows: int
    digest: str
    stamps: str


@dataclass(frozen=True)
class ScanRequest:
    """What the scan of a corpus needs to know.

    Attributes:
        shard_rows: rows of a shard, about, where `fitting` decides.
        fitting: the rows of a shard, by the rows of the corpus.
    """

    files: tuple[SourceFile, ...]
    spec: ReadSpec
    shard_rows: int
    staging: str | None
    on_bad_row: str = "fail"
    check_ids: bool = True
    fitting: Callable[[int], int] | None = None

    @property
    def small(self) -> bool:
        """Whether to scan in this process."""
        return sum(file.size for file in self.files) <= IN_PROCESS_BYTES

    @property
    def want_ids(self) -> bool:
        """Whether ids are compared; row numbers need no check."""
        return self.check_ids and self.spec.id_column is not None


def prepare_corpus(request: ScanRequest) -> Corpus:
    """Scan all files, check them, and cut them into shards.

    Raises:
        InputError: an unreadable file, a bad row (unless they are skipped), duplicate ids, ids of two kinds, or no
            rows at all; the message names file and row.
    """
    scans, duplicates = _scan_here(request) if request.small else _scan_on_ray(request)
    rows = sum(scan.rows for scan in scans)
    if rows == 0:
        raise InputError(
            f"the input has no rows ({', '.join(file.url for file in request.files[:3])})", "name files that hold texts"
        )
    bad = sum(scan.bad_rows for scan in scans)
    if bad and request.on_bad_row == "fail":
        _raise_bad_rows(request.files, scans, bad)
    if duplicates:
        _raise_duplicates(request, scans, duplicates)
    shard_rows = request.shard_rows if request.fitting is None else request.fitting(rows)
    return Corpus(
        files=request.files,
        spec=request.spec,
        shards=tuple(cut_shards(list(request.files), scans, shard_rows)),
        rows=rows,
        bad_rows=bad,
        digest=_digest([scan.digest for scan in scans]),
        stamps=stamps_digest(request.files),
    )


@contextmanager
def flags_of_a_corpus() -> Iterator[None]:
    """Errors within name the flags of a corpus that is read beside queries (`--corpus-id-column`, …)."""
    try:
        yield
    except StRayError as error:
        error.remedy = _TEXT_FLAGS.sub(r"--corpus-\1", error.remedy)
        raise


def reading_lineage(spec: ReadSpec, on_bad_row: str) -> Lineage:
    """What of the texts is read, and how; values are named where there are any."""
    values = [[column.name, column.kind, column.classes] for column in spec.values]
    return {
        "id_column": spec.id_column,
        "text_columns": list(spec.text_columns),
        "columns": list(spec.columns or ()),
        "quotes": spec.quotes,
        "on_bad_row": on_bad_row,
        **({"values": values} if values else {}),
    }


def stamps_digest(files: Sequence[SourceFile]) -> str:
    """Digest of names, sizes and stamps, in order."""
    return _digest([f"{file.url}\0{file.size}\0{file.stamp}" for file in files])


def describe_shard(shard: ShardPlan) -> str:
    """Name it, for an error."""
    return f"rows {shard.first_row + 1:,} to {shard.first_row + shard.rows:,}"


def _scan_here(request: ScanRequest) -> tuple[list[FileScan], list[tuple[int, int]]]:
    scans = [_scan_one(request, file) for file in request.files]
    parts = [_hashed_rows(scan, first) for scan, first in zip(scans, _offsets(scans), strict=True)]
    duplicates = find_duplicates([part for part in parts if part is not None], _MAX_SHOWN)
    return [dataclasses.replace(scan, id_hashes=None) for scan in scans], duplicates


def _scan_on_ray(request: ScanRequest) -> tuple[list[FileScan], list[tuple[int, int]]]:
    """One task a file. Hashes of ids go to as many buckets as keep one bucket small, and never to the driver."""
    import ray

    buckets = 1 + sum(file.size for file in request.files) // _BYTES_PER_BUCKET if request.want_ids else 0
    scan_file_task = ray.remote(_scan_into_buckets).options(num_returns=1 + buckets)
    refs = [scan_file_task.remote(request, file, buckets) for file in request.files]
    refs = refs if buckets else [[ref] for ref in refs]
    scans: list[FileScan] = [result_of(file_refs[0]) for file_refs in refs]
    compare_task = ray.remote(_compare_bucket)
    found = [
        compare_task.remote(_offsets(scans), *(file_refs[1 + bucket] for file_refs in refs))
        for bucket in range(buckets)
    ]
    pairs = sorted((pair for ref in found for pair in result_of(ref)), key=lambda pair: pair[1])
    return scans, pairs[:_MAX_SHOWN]


def _scan_into_buckets(request: ScanRequest, file: SourceFile, buckets: int) -> Any:
    scan = _scan_one(request, file)
    without = dataclasses.replace(scan, id_hashes=None)
    if not buckets:
        return without
    hashes = scan.id_hashes if scan.id_hashes is not None else np.empty((0, 2), np.uint64)
    return (without, *partition_hashes(0, hashes, buckets))


def _compare_bucket(offsets: Sequence[int], *files: HashedRows) -> list[tuple[int, int]]:
    shifted = [(rows + offset, hashes) for offset, (rows, hashes) in zip(offsets, files, strict=True)]
    return find_duplicates(shifted, _MAX_SHOWN)


def _hashed_rows(scan: FileScan, first_row: int) -> HashedRows | None:
    return None if scan.id_hashes is None else partition_hashes(first_row, scan.id_hashes, 1)[0]


def _scan_one(request: ScanRequest, file: SourceFile) -> FileScan:
    # Compressed text is staged in chunks, best of a shard each; elsewhere a mark just saves skipping.
    mark_every = request.shard_rows if file.compression else max(1, request.shard_rows // 4)
    return scan_file(file, request.spec, mark_every=mark_every, staging=request.staging, want_ids=request.want_ids)


def _raise_bad_rows(files: Sequence[SourceFile], scans: Sequence[FileScan], total: int) -> None:
    examples = [
        f"{file.url}, row {row + 1}: {reason}"
        for file, scan in zip(files, scans, strict=True)
        for row, reason in scan.bad
    ]
    raise InputError(
        f"rows that cannot be used: {total:,}\n     " + "\n     ".join(examples[:_MAX_SHOWN]),
        "mend them, or leave them out with --on-bad-row skip (they are counted and listed)",
    )


def _raise_duplicates(request: ScanRequest, scans: Sequence[FileScan], pairs: Sequence[tuple[int, int]]) -> None:
    offsets = _offsets(scans)

    def place(row: int) -> str:
        index = int(np.searchsorted(offsets, row, side="right")) - 1
        while scans[index].rows == 0:
            index -= 1
        return f"{request.files[index].url}, row {row - offsets[index] + 1}"

    lines = [f"{place(first)}, and {place(second)}" for first, second in pairs]
    raise InputError(
        f"column {request.spec.id_column!r} has the same id more than once, in:\n     " + "\n     ".join(lines),
        "make the ids unique, or leave out --id-column to number the rows",
    )


def _offsets(scans: Sequence[FileScan]) -> list[int]:
    return [0, *np.cumsum([scan.rows for scan in scans])[:-1].tolist()]


def _digest(parts: Sequence[str]) -> str:
    return hashlib.blake2b(json.dumps(list(parts)).encode(), digest_size=16).hexdigest()
