"""The law: any split into files, any format, any cut into shards gives all rows once, in order."""

from __future__ import annotations

import dataclasses
import json
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.store.readers import ReadSpec, cut_shards, files, read_shard, text
from tests.store.readers.writing import SPEC, encode, jsonl_bytes, read_all, rejects_of, rows_of, scan_all

FORMATS = ["jsonl", "jsonl.gz", "jsonl.zst", "csv", "tsv", "csv.zst", "parquet", "arrow", "txt", "txt.gz"]
TRICKY = st.sampled_from(
    ['a "quoted" word', "two\nlines", "\r\n", "tab\there", ",", '"', "", "\U0001f600 é", "\u2028\x85", "\x00"]
)
TEXTS = st.one_of(TRICKY, st.text(st.characters(exclude_categories=["Cs"]), max_size=12))


def fitting(extension: str, value: str) -> str:
    """`value` without what the format cannot hold."""
    if extension.startswith("txt"):
        return value.translate({ord("\n"): " ", ord("\r"): " ", ord("\ufeff"): " "})
    if extension.startswith(("csv", "tsv")) and sys.version_info < (3, 11):
        return value.replace("\x00", " ")
    return value


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[tuple[str, list[tuple[Any, str]]]], bool]:
    """Files, as (extension, rows), and whether there are ids."""
    integers = draw(st.booleans())
    texts = draw(st.lists(TEXTS, max_size=25))
    cuts = sorted(draw(st.lists(st.integers(0, len(texts)), max_size=4)))
    parts, number = [], 0
    with_ids = draw(st.booleans())
    for start, end in zip([0, *cuts], [*cuts, len(texts)], strict=True):
        kinds = [
            e for e in FORMATS if not with_ids or not (e.startswith("txt") or (integers and e[:3] in ("csv", "tsv")))
        ]
        extension = draw(st.sampled_from(kinds))
        rows: list[tuple[Any, str]] = []
        for value in texts[start:end]:
            rows.append((number if integers else f"id-{number}", fitting(extension, value)))
            number += 1
        parts.append((extension, rows))
    return parts, with_ids


@given(
    corpora(),
    st.integers(1, 30),
    st.integers(1, 30),
    st.booleans(),
    st.sampled_from([1, 7, 64, 1 << 20]),
)
@settings(max_examples=150, deadline=None)
def test_shards_are_the_rows_in_order(
    corpus: tuple[list[tuple[str, list[tuple[Any, str]]]], bool],
    shard_rows: int,
    mark_every: int,
    staged: bool,
    block_bytes: int,
) -> None:
    parts, with_ids = corpus
    spec = SPEC if with_ids else ReadSpec(text_columns=("text",))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # Blocks of a few bytes put a block's end at every place in a record.
        patch.setattr(files, "BLOCK_BYTES", block_bytes)
        patch.setattr(text, "_HEAD_BYTES", block_bytes)
        paths = []
        for number, (extension, rows) in enumerate(parts):
            paths.append(Path(folder) / f"part-{number}.{extension}")
            paths[-1].write_bytes(encode(extension, rows))
        staging = Path(folder) / "staging" if staged else None
        blocks, scans = read_all(paths, spec, shard_rows, mark_every=mark_every, staging=staging)
    expected = [row for _, rows in parts for row in rows]
    assert [scan.rows for scan in scans] == [len(rows) for _, rows in parts]
    assert rows_of(blocks) == [
        (number, row_id if with_ids else number, value) for number, (row_id, value) in enumerate(expected)
    ]
    assert not rejects_of(blocks)


BROKEN = [
    b'{"id": "x", "text": null}',
    b'{"id": "x"}',
    b'{"text": "x"}',
    b'{"id": 5, "text": "x"}',
    b"[1]",
    b"{broken",
    b'{"id": "x", "text": "\xff"}',
    b'{"id": "x", "text": "\\ud800"}',
]


@given(st.lists(st.one_of(st.none(), st.sampled_from(BROKEN), st.just(b"  "))), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_skipped_rows_are_the_bad_ones_wherever_the_cuts_are(
    lines: list[bytes | None], shard_rows: int, mark_every: int
) -> None:
    lines = [None, *lines]
    rows = [line for line in lines if line != b"  "]
    data = b"\n".join(jsonl_bytes([("good", "text")]).strip() if line is None else line for line in lines)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(data)
        blocks, (scan,) = read_all([path], SPEC, shard_rows, "skip", mark_every=mark_every, max_bad=2)
        bad = [number for number, line in enumerate(rows) if line is not None]
        assert (scan.rows, scan.bad_rows, [row for row, _ in scan.bad]) == (len(rows), len(bad), bad[:2])
        assert [row for row, _, _ in rows_of(blocks)] == [n for n, line in enumerate(rows) if line is None]
        rejects = rejects_of(blocks)
        assert [reject["row"] for reject in rejects] == [reject["row_in_file"] for reject in rejects] == bad
        assert [reject["reason"] for reject in rejects][:2] == [reason for _, reason in scan.bad]
        assert {reject["file"] for reject in rejects} <= {str(path)}


@given(
    st.sampled_from(["csv", "jsonl", "txt"]),
    st.lists(
        st.sampled_from([b'"', b",", b"\n", b"\r", b"\r\n", b"x", b"\xff", b'{"text":"x"}', b" ", b"\xef\xbb\xbf"])
    ),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([1, 2, 5]),
)
@settings(max_examples=200, deadline=None)
def test_broken_bytes_read_alike_wherever_blocks_and_shards_end(
    extension: str, pieces: list[bytes], shard_rows: int, mark_every: int, block_bytes: int
) -> None:
    spec = ReadSpec(text_columns=("text",), columns=("text", "more") if extension == "csv" else None)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / f"a.{extension}"
        path.write_bytes(
            {"csv": b"a,b\n", "jsonl": b'{"text": ""}\n', "txt": b""}[extension] + b"".join(pieces) + b"\n"
        )
        once, (scan,) = read_all([path], spec, 1 << 20, "skip")
        patch.setattr(files, "BLOCK_BYTES", block_bytes)
        blocks, (again,) = read_all([path], spec, shard_rows, "skip", mark_every=mark_every)
    assert rows_of(blocks) == rows_of(once)
    assert rejects_of(blocks) == rejects_of(once)
    assert (again.rows, again.bad, again.bad_rows, again.digest) == (scan.rows, scan.bad, scan.bad_rows, scan.digest)


def test_a_shard_over_a_thousand_files(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"{number:04d}.jsonl").write_bytes(jsonl_bytes([(number, f"text {number}")]))
    sources, spec, scans = scan_all([tmp_path], SPEC)
    (plan,) = cut_shards(sources, scans, 1000)
    assert len(plan.segments) == 1000
    assert read_shard(plan, spec, on_bad_row="fail").texts == [f"text {number}" for number in range(1000)]


def test_plans_stay_small_and_seek(tmp_path: Path) -> None:
    """A segment of a file with many marks begins at its own row, and is a few hundred bytes of JSON or pickle."""
    (tmp_path / "a.jsonl").write_bytes(jsonl_bytes([(number, "x") for number in range(10_000)]))
    sources, _, scans = scan_all([tmp_path], SPEC, mark_every=10)
    plans = cut_shards(sources, scans, 100)
    assert all(plan.segments[0].seek_row == plan.first_row for plan in plans)
    assert len(pickle.dumps(plans[50])) < 1000
    assert len(json.dumps(dataclasses.asdict(plans[50]))) < 1000
