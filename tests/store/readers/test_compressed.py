"""Compressed text: re-cut into chunks while it is scanned, so that a shard reads only its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from st_ray.core.errors import InputError
from st_ray.store.readers import ReadSpec, cut_shards, read_shard
from tests.store.readers.writing import SPEC, compress, csv_bytes, encode, read_all, rows_of, scan_all

ROWS = [(f"id-{number}", f'text "{number}",\nmore') for number in range(95)]
EXPECTED = [(number, *row) for number, row in enumerate(ROWS)]


@pytest.mark.parametrize("extension", ["jsonl.gz", "jsonl.zst", "csv.gz", "tsv.zst"])
def test_a_shard_reads_only_its_chunks(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    path.write_bytes(encode(extension, ROWS))
    files, spec, scans = scan_all([path], SPEC, mark_every=10, staging=tmp_path / "staging")
    chunks = scans[0].chunks
    assert chunks is not None
    assert sorted(str(path) for path in (tmp_path / "staging").iterdir()) == [chunks.url(n) for n in range(10)]
    plans = cut_shards(files, scans, 15)
    assert rows_of([read_shard(plan, spec, on_bad_row="fail") for plan in plans]) == EXPECTED
    for number in (0, 1, 2, 4, 5, 6, 7, 8, 9):
        Path(chunks.url(number)).unlink()
    # Rows 30 to 45 lie in chunks 3 and 4, and only in those.
    with pytest.raises(InputError, match=r"000004\.zst: no such file"):
        read_shard(plans[2], spec, on_bad_row="fail")
    scan_all([path], SPEC, mark_every=10, staging=tmp_path / "staging")
    assert rows_of([read_shard(plans[2], spec, on_bad_row="fail")]) == EXPECTED[30:45]


def test_chunks_are_written_once_and_named_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(encode("jsonl.gz", ROWS))
    staging = tmp_path / "staging"
    scan_all([path], SPEC, mark_every=10, staging=staging)
    before = {file.name: file.stat().st_mtime_ns for file in staging.iterdir()}
    scan_all([path], SPEC, mark_every=10, staging=staging)
    assert {file.name: file.stat().st_mtime_ns for file in staging.iterdir()} == before
    scan_all([path], SPEC, mark_every=20, staging=staging)
    assert len(list(staging.iterdir())) == len(before) + 5
    path.write_bytes(encode("jsonl.gz", ROWS[:-1]))
    scan_all([path], SPEC, mark_every=20, staging=staging)
    assert len(list(staging.iterdir())) == len(before) + 10


def test_without_staging_the_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.zst"
    path.write_bytes(encode("csv.zst", ROWS))
    blocks, (scan,) = read_all([path], SPEC, 10, mark_every=10)
    assert scan.chunks is None and scan.marks[:, 0].tolist() == [0]
    assert rows_of(blocks) == EXPECTED


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_members_and_frames_behind_one_another(tmp_path: Path, compression: str) -> None:
    data = csv_bytes(ROWS)
    pieces = [data[:100], data[100:1000], b"", data[1000:]]
    path = tmp_path / f"a.csv.{compression}"
    path.write_bytes(
        b"".join(compress(piece, compression) for piece in pieces) + (b"\0" * 512 if compression == "gz" else b"")
    )
    assert rows_of(read_all([path], SPEC, 10)[0]) == EXPECTED


def test_uncompressed_files_are_not_staged(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(csv_bytes(ROWS))
    _, (scan,) = read_all([path], SPEC, 10, mark_every=10, staging=tmp_path / "staging")
    assert scan.chunks is None and not (tmp_path / "staging").exists()
    assert scan.marks[:, 0].tolist() == list(range(0, 95, 10))


def test_staged_plain_text_keeps_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(compress(b"\none\n\n\r\ntwo", "gz"))
    blocks, _ = read_all([path], ReadSpec(), 2, mark_every=1, staging=tmp_path / "staging")
    assert [text for _, _, text in rows_of(blocks)] == ["", "one", "", "", "two"]
