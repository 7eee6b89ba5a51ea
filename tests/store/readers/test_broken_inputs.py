"""Inputs that cannot be used as a whole: one clear error that names the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from st_ray.core.errors import InputError
from st_ray.store.readers import ReadSpec, cut_shards, read_shard, records, resolve_inputs, scan_file
from tests.store.readers.writing import SPEC, arrow_bytes, csv_bytes, encode, jsonl_bytes, read_all, scan_all

ROWS = [(f"id-{number}", f"text {number}") for number in range(500)]


@pytest.mark.parametrize("extension", ["parquet", "jsonl.gz", "jsonl.zst", "arrow"])
@pytest.mark.parametrize("damage", ["cut short", "overwritten", "foreign"])
def test_damaged_files(tmp_path: Path, extension: str, damage: str) -> None:
    data = bytearray(encode(extension, ROWS))
    if damage == "cut short":
        data = data[: -len(data) // 3]
    elif damage == "overwritten":
        data[:64] = b"\xff" * 64
    else:
        data = bytearray(b"something else altogether, which is not empty\n" * 10)
    path = tmp_path / f"a.{extension}"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_all([path], SPEC)
    assert str(path) in str(caught.value)


def test_damage_in_the_middle_of_a_compressed_file(tmp_path: Path) -> None:
    """The head is fine, so that the inputs resolve; the scan finds it."""
    import random

    words = random.Random(0)
    rows = [(number, "".join(words.choices("abcdefghij", k=50))) for number in range(30_000)]
    for extension in ("jsonl.gz", "jsonl.zst"):
        data = bytearray(encode(extension, rows))
        path = tmp_path / f"a.{extension}"
        path.write_bytes(data[: len(data) - 5])
        files, spec = resolve_inputs([str(path)], SPEC)
        with pytest.raises(InputError, match=f"a.{extension}: cannot be read: the compressed data ends too early"):
            scan_file(files[0], spec, mark_every=1000, staging=None, want_ids=False)


def test_an_arrow_column_with_offsets_that_lead_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    data = bytearray(arrow_bytes([("a", "abc")]))
    offset = data.index(b"\3\0\0\0abc")
    data[offset : offset + 4] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.arrow: cannot be read"):
        read_all([path], SPEC)


def test_an_arrow_stream_that_ends_between_two_batches(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    path.write_bytes(arrow_bytes(ROWS)[:-8])
    with pytest.raises(InputError, match=r"a\.arrow: the Arrow stream is cut short"):
        read_all([path], SPEC)


def test_feather_and_dictionaries_in_arrow_files(tmp_path: Path) -> None:
    content = pa.table({"id": ["a"], "text": ["x"]})
    with pa.ipc.new_file(str(tmp_path / "feather.arrow"), content.schema) as writer:
        writer.write_table(content)
    with pytest.raises(InputError, match=r"feather\.arrow: .*Feather"):
        read_all([tmp_path / "feather.arrow"], SPEC)
    content = pa.table({"id": ["a"], "text": pa.array(["x"]).dictionary_encode()})
    with pa.ipc.new_stream(str(tmp_path / "codes.arrow"), content.schema) as writer:
        writer.write_table(content)
    with pytest.raises(InputError, match=r"codes\.arrow: a dictionary message"):
        read_all([tmp_path / "codes.arrow"], SPEC)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([b"x"]), "text column 'text' holds binary, not strings"),
        (pa.array([["x"]]), "text column 'text' holds list of strings, not strings"),
        (pa.array([[1]]), "text column 'text' holds list of numbers, not strings"),
        (pa.array([{"a": "x"}]), "text column 'text' holds struct<"),
        (pa.array([1.5]), "text column 'text' holds double"),
        (pa.array([1]), "text column 'text' holds integer"),
    ],
)
def test_text_columns_of_other_types(tmp_path: Path, column: pa.Array, message: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["a"], "text": column}), path)
    with pytest.raises(InputError) as caught:
        resolve_inputs([str(path)], SPEC)
    assert f"{path}: {message}" in str(caught.value)


def test_id_columns_of_other_types(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": [1.5], "text": ["x"]}), path)
    with pytest.raises(InputError, match="id column 'id' holds double"):
        resolve_inputs([str(path)], SPEC)


@pytest.mark.parametrize("extension", ["parquet", "csv", "jsonl", "arrow", "txt"])
def test_no_such_column(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    path.write_bytes(encode(extension, ROWS[:3]))
    with pytest.raises(InputError) as caught:
        resolve_inputs([str(path)], ReadSpec(text_columns=("body",)))
    assert f"{path}: no column 'body'; columns found: " in str(caught.value)
    assert "text (string)" in str(caught.value)


@pytest.mark.parametrize("extension", ["parquet", "csv", "arrow"])
def test_a_later_file_lacks_a_column(tmp_path: Path, extension: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl_bytes(ROWS[:3]))
    path = tmp_path / f"b.{extension}"
    data = encode(extension, ROWS[:3])
    path.write_bytes(data.replace(b"id,text", b"id,body") if extension == "csv" else data)
    if extension != "csv":
        content = pa.table({"id": ["a"], "body": ["x"]})
        if extension == "parquet":
            pq.write_table(content, path)
        else:
            with pa.ipc.new_stream(str(path), content.schema) as writer:
                writer.write_table(content)
    with pytest.raises(InputError, match=f"b.{extension}: no column 'text'; columns found: id .string., body"):
        scan_all([tmp_path / "a.jsonl", path], SPEC)


def test_ambiguous_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,text\nx,y\n")
    with pytest.raises(InputError, match=r"a\.csv: 2 columns 'text'"):
        resolve_inputs([str(tmp_path / "a.csv")], ReadSpec(text_columns=("text",)))


def test_ids_of_two_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl_bytes([(1, "x")]))
    (tmp_path / "b.jsonl").write_bytes(jsonl_bytes([("1", "x")]))
    with pytest.raises(InputError, match=r"ids are int64 in .*a\.jsonl but string in .*b\.jsonl"):
        read_all([tmp_path], SPEC)


def test_a_file_that_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl_bytes(ROWS[:3]))
    files, spec, scans = scan_all([path], SPEC)
    (plan,) = cut_shards(files, scans, 10)
    path.write_bytes(jsonl_bytes(ROWS[:4]))
    for call in (
        lambda: read_shard(plan, spec, on_bad_row="skip"),
        lambda: scan_file(files[0], spec, mark_every=1, staging=None, want_ids=False),
    ):
        with pytest.raises(InputError, match=r"a\.jsonl: changed since it was scanned"):
            call()
    # The same length, but written again.
    path.write_bytes(jsonl_bytes(ROWS[:3]))
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match="changed since"):
        read_shard(plan, spec, on_bad_row="skip")
    path.unlink()
    with pytest.raises(InputError, match=r"a\.jsonl: no such file"):
        read_shard(plan, spec, on_bad_row="skip")


def test_other_encodings_and_shapes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("id,text\n1,x\n".encode("utf-16"))
    with pytest.raises(InputError, match=r"a\.csv: UTF-16"):
        resolve_inputs([str(tmp_path / "a.csv")], ReadSpec())
    (tmp_path / "a.json").write_text('[\n{"text": "x"}\n]')
    with pytest.raises(InputError, match=r"a\.json: a JSON array, not JSON lines"):
        resolve_inputs([str(tmp_path / "a.json")], ReadSpec())
    (tmp_path / "b.csv").write_bytes(b"id,t\xe9xt\n1,x\n")
    with pytest.raises(InputError, match=r"b\.csv: the header line cannot be read: not valid UTF-8"):
        resolve_inputs([str(tmp_path / "b.csv")], ReadSpec())


def test_a_record_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("st_ray.store.readers.text.MAX_RECORD_BYTES", 1 << 20)
    assert records.MAX_RECORD_BYTES == 64 << 20
    (tmp_path / "a.txt").write_bytes(b"short\n" + b"x" * (3 << 20))
    with pytest.raises(InputError, match=r"a\.txt: a record longer than 1 MiB"):
        read_all([tmp_path / "a.txt"], ReadSpec())


def test_long_records_within_the_limit(tmp_path: Path) -> None:
    rows = [("a", "x" * (3 << 20)), ("b", 'y"\n' * 200_000), ("c", "z")]
    (tmp_path / "a.csv").write_bytes(csv_bytes(rows))
    (tmp_path / "b.jsonl").write_bytes(jsonl_bytes(rows))
    blocks, _ = read_all([tmp_path / "a.csv", tmp_path / "b.jsonl"], SPEC, shard_rows=1)
    assert [block.texts[0] for block in blocks] == [text for _, text in rows] * 2


@contextmanager
def no_longer_root() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_permission_denied(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    inner = folder / "inner"
    inner.mkdir(parents=True)
    path = folder / "a.jsonl"
    path.write_bytes(jsonl_bytes(ROWS[:3]))
    (inner / "b.jsonl").write_bytes(jsonl_bytes(ROWS[:3]))
    files, spec = resolve_inputs([str(path)], SPEC)
    for place in [tmp_path, *tmp_path.parents[:2]]:
        place.chmod(0o755)
    path.chmod(0)
    inner.chmod(0)

    def scan(file: Any) -> Any:
        return scan_file(file, spec, mark_every=1, staging=None, want_ids=False)

    try:
        with no_longer_root():
            with pytest.raises(InputError, match=r"a\.jsonl: permission denied"):
                resolve_inputs([str(path)], SPEC)
            with pytest.raises(InputError, match=r"a\.jsonl: permission denied"):
                scan(files[0])
            # A folder that may not be entered is not passed over.
            with pytest.raises(InputError, match="permission denied"):
                resolve_inputs([str(folder)], SPEC)
            with pytest.raises(InputError, match="permission denied"):
                resolve_inputs([str(inner / "b.jsonl")], SPEC)
    finally:
        inner.chmod(0o755)
        path.chmod(0o644)
