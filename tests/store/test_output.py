"""The output folder: who may use it, what counts as committed, and when it is complete."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from st_ray.core.errors import InputError, OutputError, ShardError
from st_ray.store import fs, lock
from st_ray.store.manifest import Manifest, ShardEntry, read_manifest
from st_ray.store.output import OutputFolder, Part, part_name

LINEAGE = {"input": "abc", "model": "123", "prompt": ""}


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An output of either kind."""
    if request.param == "local":
        return str(tmp_path / "out")
    return f"{request.getfixturevalue('s3')}/{tmp_path.name}/out"


def part(text: str, rows: int = 1) -> Part:
    return Part(text.encode(), rows, first_row=0)


def test_commits_are_found_again_and_are_idempotent(folder: str) -> None:
    output = OutputFolder(folder, "embeddings")
    output.check_usable()
    writer = output.begin(LINEAGE)
    first = writer.commit("part-00000.parquet", part("aaa"))
    assert writer.commit("part-00000.parquet", part("aaa")) == first
    scores = {"pairs": "-3 0 1 2"}
    writer.commit("part-00001.parquet", dataclasses.replace(part("bbbb", rows=7), scores=scores))
    again = OutputFolder(folder, "embeddings").begin(LINEAGE)
    committed = output.committed(again)
    assert sorted(committed) == ["part-00000.parquet", "part-00001.parquet"]
    assert committed["part-00001.parquet"].rows == 7
    assert [commit.scores for _, commit in sorted(output.commits(again).items())] == [{}, scores]
    assert output.manifest() is None


def test_a_part_without_record_or_of_another_size_is_not_committed(folder: str) -> None:
    output = OutputFolder(folder, "embeddings")
    writer = output.begin(LINEAGE)
    for number in range(3):
        writer.commit(part_name(number, 3), part("data"))
    fs.remove(fs.join(folder, "commits", "part-00000.json"))
    fs.write_atomic(fs.join(folder, "data", "part-00001.parquet"), b"cut")
    fs.write_atomic(fs.join(folder, "commits", "part-00002.json"), b'{"name": "part-')
    assert output.committed(writer) == {}


def test_another_lineage_is_refused_by_name(folder: str) -> None:
    output = OutputFolder(folder, "embeddings")
    output.begin(LINEAGE)
    with pytest.raises(OutputError, match=r"prompt: '' before, 'query: ' now") as error:
        output.begin({**LINEAGE, "prompt": "query: "})
    assert "model" not in error.value.message
    assert "--overwrite" in error.value.remedy


def test_a_task_of_an_older_run_cannot_write(folder: str) -> None:
    output = OutputFolder(folder, "embeddings")
    old = output.begin(LINEAGE)
    output.clear()
    with pytest.raises(ShardError, match=r"not written: .* finds no .*/run\.json"):
        old.commit("part-00000.parquet", part("old"))
    new = output.begin(LINEAGE)
    new.commit("part-00000.parquet", part("new"))
    with pytest.raises(ShardError, match="another run"):
        old.commit("part-00000.parquet", part("old"))
    assert fs.read_bytes(new.part_url("part-00000.parquet")) == b"new"


def test_foreign_folders_are_left_alone(folder: str) -> None:
    fs.write_atomic(fs.join(folder, "thesis.tex"), b"ten years of work")
    with pytest.raises(OutputError, match=r"not made by st-ray.*thesis\.tex"):
        OutputFolder(folder, "embeddings").check_usable()
    assert fs.read_bytes(fs.join(folder, "thesis.tex"))


def test_a_run_that_was_stopped_while_it_scanned_its_input_can_be_repeated(folder: str) -> None:
    chunk = f"{'0a' * 16}-000000.zst"
    for name in (chunk, f".{chunk}.0123456789ab.tmp"):
        fs.write_atomic(fs.join(folder, "staging", name), b"rows")
    OutputFolder(folder, "numbers").check_usable()
    fs.write_atomic(fs.join(folder, "staging", "mine.txt"), b"do not touch")
    with pytest.raises(OutputError, match="was not made by st-ray"):
        OutputFolder(folder, "numbers").check_usable()


def test_an_output_of_another_kind_is_refused(folder: str) -> None:
    OutputFolder(folder, "index").begin(LINEAGE)
    with pytest.raises(OutputError, match="holds index, this job makes embeddings"):
        OutputFolder(folder, "embeddings").check_usable()


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        OutputFolder(str(tmp_path / "out"), "embeddings").check_usable()


def test_a_damaged_run_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(OutputError, match=r"run\.json is damaged"):
        OutputFolder(str(tmp_path), "embeddings").check_usable()


def test_the_manifest_completes(folder: str) -> None:
    output = OutputFolder(folder, "embeddings")
    writer = output.begin(LINEAGE)
    entries = (
        writer.commit("part-00000.parquet", Part(b"x", 3, 0, {"null text": 2})),
        writer.commit("part-00001.parquet", Part(b"yy", 4, 5, {"null text": 1, "not a string": 1})),
    )
    with pytest.raises(InputError, match="not a finished output"):
        read_manifest(folder)
    output.finish(Manifest("embeddings", LINEAGE, entries, {"dimension": 8}, {"seconds": 1.0}))
    manifest = read_manifest(folder)
    assert manifest.entries == entries
    assert (manifest.rows, manifest.total_bytes) == (7, 3)
    assert manifest.dropped == {"not a string": 1, "null text": 3}


def test_a_manifest_of_a_newer_schema_is_refused() -> None:
    newer = json.loads(Manifest("k", {}, (ShardEntry("p", 1, 0, 1, "d"),)).to_json()) | {"schema_version": 99}
    with pytest.raises(InputError, match="schema version 99"):
        Manifest.from_json(json.dumps(newer).encode(), "there")
    with pytest.raises(InputError, match="there is not a manifest"):
        Manifest.from_json(b"[]", "there")


def test_litter_of_killed_writers_is_swept(tmp_path: Path) -> None:
    output = OutputFolder(str(tmp_path), "embeddings")
    output.begin(LINEAGE).commit("part-00000.parquet", part("a"))
    litter = tmp_path / "data" / ".part-00001.parquet.0123.tmp"
    litter.write_bytes(b"half")
    output.begin(LINEAGE)
    assert not litter.exists()


def test_names_sort_in_plan_order() -> None:
    assert part_name(42, 20_000) == "part-00042.parquet"
    names = [part_name(number, 123_456, ".faiss") for number in (0, 9_999, 99_999, 123_455)]
    assert names == sorted(names)


def test_a_second_job_is_refused_while_the_first_runs(folder: str) -> None:
    output = OutputFolder(folder, "embeddings")
    with output.lock():
        output.check_usable()
        with pytest.raises(OutputError, match="another job is writing here: process"), output.lock():
            pass
    with output.lock():
        pass
    assert not fs.exists(fs.join(folder, "lock.json"))


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    script = (
        "import os, sys; from st_ray.store.lock import OutputLock; "
        "OutputLock(sys.argv[1]).__enter__(); os.kill(os.getpid(), 9)"
    )
    url = str(tmp_path / "lock.json")
    assert subprocess.run([sys.executable, "-c", script, url], check=False).returncode == -9
    assert fs.exists(url)
    with lock.OutputLock(url):
        pass


def test_the_lock_of_another_machine_is_taken_over_when_it_stops_beating(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "STALE_SECONDS", 1.5)
    url = fs.join(folder, "lock.json")
    fs.write_atomic(url, json.dumps({"token": "t", "beat": 3, "host": "elsewhere", "pid": 1, "boot": "x"}).encode())
    with lock.OutputLock(url) as held:
        assert not held.lost


def test_a_job_notices_that_its_lock_was_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.05)
    url = str(tmp_path / "lock.json")
    with lock.OutputLock(url) as held:
        fs.write_atomic(url, b'{"token": "somebody else"}')
        held._thread.join(timeout=5)
        assert held.lost
    assert fs.exists(url)  # it is not ours to remove


def test_what_killed_writers_left_is_gone_when_the_output_is_finished(tmp_path: Path) -> None:
    output = OutputFolder(str(tmp_path / "out"), "numbers")
    writer = output.begin({})
    entry = writer.commit("part-00000.parquet", Part(b"x", 1, 0))
    (tmp_path / "out" / "data" / ".part-00000.parquet.0123456789ab.tmp").write_bytes(b"half")
    output.finish(Manifest("numbers", {}, (entry,)))
    assert [path.name for path in (tmp_path / "out" / "data").iterdir()] == ["part-00000.parquet"]
