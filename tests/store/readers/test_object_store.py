"""The same on an object store."""

from __future__ import annotations

import pytest

from st_ray.core.errors import InputError
from st_ray.store.fs import write_atomic
from st_ray.store.readers import ReadSpec, cut_shards, files, read_shard
from st_ray.store.s3 import ObjectStore
from tests.store.readers.writing import SPEC, encode, jsonl_bytes, read_all, rows_of, scan_all

ROWS = [(f"id-{number}", f"text {number}") for number in range(50)]
EXPECTED = [(number, *row) for number, row in enumerate(ROWS)]


@pytest.mark.parametrize("extension", ["parquet", "arrow", "jsonl", "csv", "jsonl.gz", "csv.zst"])
def test_every_format(s3_folder: str, extension: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_FETCH_BYTES", 200)
    folder = f"{s3_folder}/{extension}"
    write_atomic(f"{folder}/b.{extension}", encode(extension, ROWS[20:]))
    write_atomic(f"{folder}/a.{extension}", encode(extension, ROWS[:20]))
    staging = f"{s3_folder}/staging"
    assert rows_of(read_all([folder], SPEC, 17, mark_every=7, staging=staging)[0]) == EXPECTED


def test_folders_and_globs(s3_folder: str) -> None:
    folder = f"{s3_folder}/spelling"
    for name, rows in (
        ("b.jsonl", ROWS[20:]),
        ("sub/c.jsonl", []),
        ("a.jsonl", ROWS[:20]),
        ("_temporary/d.jsonl", ROWS),
    ):
        write_atomic(f"{folder}/{name}", jsonl_bytes(rows))
    for given in (folder, folder + "/", f"{folder}/*.jsonl", f"{folder}/**/*.jsonl"):
        assert rows_of(read_all([given], SPEC)[0]) == EXPECTED


def test_what_is_missing(s3_folder: str) -> None:
    for given, message in [
        (f"{s3_folder}/nothing.jsonl", "s3://readers-test/nothing.jsonl: no such file or folder"),
        (f"{s3_folder}/nothing/*.jsonl", "nothing matches"),
        ("s3://no-such-bucket/a.jsonl", "no such file or folder"),
    ]:
        with pytest.raises(InputError, match=message.replace("*", r"\*")):
            scan_all([given], SPEC)


def test_an_object_that_changed(s3_folder: str) -> None:
    url = f"{s3_folder}/changing.jsonl"
    write_atomic(url, jsonl_bytes(ROWS[:2]))
    sources, spec, scans = scan_all([url], SPEC)
    (plan,) = cut_shards(sources, scans, 10)
    write_atomic(url, jsonl_bytes(ROWS[:2]))
    assert len(read_shard(plan, spec, on_bad_row="fail")) == 2
    write_atomic(url, jsonl_bytes(ROWS[2:4]))
    with pytest.raises(InputError, match=f"{url}: changed since it was scanned"):
        read_shard(plan, spec, on_bad_row="fail")


def test_other_urls(s3_folder: str) -> None:
    write_atomic("memory://readers/a.jsonl", jsonl_bytes(ROWS))
    write_atomic("memory://readers/b.parquet", encode("parquet", ROWS))
    for name in ("a.jsonl", "b.parquet"):
        assert rows_of(read_all([f"memory://readers/{name}"], SPEC, 9, mark_every=4)[0]) == EXPECTED


def test_no_credentials(s3_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    ObjectStore.clear_instance_cache()
    try:
        with pytest.raises(InputError, match=r"a\.jsonl: "):
            scan_all([f"{s3_folder}/a.jsonl"], ReadSpec())
    finally:
        ObjectStore.clear_instance_cache()
