"""The encode job on a real local Ray, with an encoder that needs no torch."""

from __future__ import annotations

import html
import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import datasets
import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import ray.data

from st_ray.core.errors import InputError, OutputError, ShardError, StRayError
from st_ray.runtime import corpus, pipeline
from st_ray.runtime.encode.job import encode
from st_ray.runtime.report.command import command_of
from st_ray.store.manifest import read_manifest
from st_ray.store.status import status_of
from tests.ray.corpora import assert_holds, config_for, part_bytes_of, table_of, texts_of, write_jsonl
from tests.stubs import StubLoader, stub_embeddings

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write_jsonl(tmp_path / "corpus.jsonl", texts_of(95))


@pytest.fixture(params=["in one process", "apart"])
def steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether actors read and write themselves, as those without a GPU do."""
    together = request.param == "in one process"
    monkeypatch.setattr(pipeline.TasksThenActors, "on_cpus", property(lambda _: together))


@pytest.mark.usefixtures("steps")
def test_every_row_once_and_open_to_everyone(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = encode(config_for(source, out, keep_text=True), StubLoader())
    assert_holds(out, texts_of(95))
    manifest = result.manifest
    assert [entry.rows for entry in manifest.entries] == [10] * 9 + [5]
    assert [entry.first_row for entry in manifest.entries] == list(range(0, 95, 10))
    assert manifest.about["dimension"] == 8
    assert manifest.run["rows"] == 95
    assert table_of(out)["text"].to_pylist() == texts_of(95)
    assert {path.name for path in out.iterdir()} == {"run.json", "manifest.json", "report.html", "data", "commits"}

    data = str(out / "data")
    assert pq.read_table(data).num_rows == 95
    assert len(pd.read_parquet(data)) == 95
    assert ray.data.read_parquet(data).count() == 95
    assert duckdb.sql(f"select count(distinct id), max(len(embedding)) from '{data}/*.parquet'").fetchall() == [(95, 8)]
    loaded = datasets.load_dataset(
        "parquet", data_files=f"{data}/*.parquet", split="train", cache_dir=str(tmp_path / "c")
    )
    assert np.asarray(loaded[3]["embedding"], np.float32).tolist() == stub_embeddings(texts_of(95))[3].tolist()


def test_a_second_run_has_nothing_to_do(source: str, tmp_path: Path) -> None:
    config = config_for(source, tmp_path / "out")
    encode(config, StubLoader())
    before = part_bytes_of(config.output)
    again = encode(config, StubLoader(unloadable="no model is needed"))
    assert again.already_complete
    assert part_bytes_of(config.output) == before


def test_only_missing_shards_are_done_again(source: str, tmp_path: Path) -> None:
    config = config_for(source, tmp_path / "out")
    encode(config, StubLoader())
    before = part_bytes_of(config.output)
    out = Path(config.output)
    (out / "manifest.json").unlink()
    (out / "commits" / "part-00003.json").unlink()
    (out / "data" / "part-00007.parquet").write_bytes(b"torn")
    result = encode(config, StubLoader())
    assert result.manifest.run["shards_done_before"] == 8
    assert result.manifest.run["rows"] == 20
    assert part_bytes_of(out) == before
    page = (out / "report.html").read_text()
    runs = re.findall(r'<tr><th scope="row"[^>]*>(\d)</th>(?:<td[^>]*>[^<]*</td>){2}<td[^>]*>(\d+)</td>', page)
    assert runs == [("1", "8"), ("2", "2")]
    assert "<svg" in page and command_of(config) in html.unescape(page)


def test_shard_size_does_not_change_an_embedding(source: str, tmp_path: Path) -> None:
    for shard_rows in (19, 33, 1000):
        out = tmp_path / str(shard_rows)
        encode(config_for(source, out, shard_rows=shard_rows), StubLoader())
        assert_holds(out, texts_of(95))


def test_repeated_texts_are_encoded_once_a_shard(tmp_path: Path) -> None:
    texts = ["same"] * 25 + ["other", "same"] * 5
    source = write_jsonl(tmp_path / "c.jsonl", texts)
    result = encode(config_for(source, tmp_path / "out", shard_rows=20), StubLoader())
    assert_holds(tmp_path / "out", texts)
    assert result.manifest.run["repeated_texts"] == 35 - (1 + 2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus and its finished store; tests work on copies."""
    folder = tmp_path_factory.mktemp("store")
    encode(config_for(write_jsonl(folder / "corpus.jsonl", texts_of(95)), folder / "out"), StubLoader())
    return folder


@pytest.mark.parametrize(
    ("change", "loader", "named"),
    [
        ({"prompt": "query: "}, StubLoader(), "prompt"),
        ({"precision": "float16"}, StubLoader(), "precision"),
        ({"normalize": True}, StubLoader(), "normalize"),
        ({"shard_rows": 11}, StubLoader(), "shard_rows"),
        ({}, StubLoader(dimension=4), "model"),
        ({}, StubLoader(), "input"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_changed_part_is_refused_by_name(
    store: Path, tmp_path: Path, change: dict[str, Any], loader: StubLoader, named: str, finished: bool
) -> None:
    shutil.copytree(store, tmp_path / "copy")
    source, out = tmp_path / "copy" / "corpus.jsonl", tmp_path / "copy" / "out"
    if not finished:
        (out / "manifest.json").unlink()
    if named == "input":
        write_jsonl(source, [*texts_of(94), "another last text"])
    before = part_bytes_of(out)
    with pytest.raises(OutputError, match=rf"(?m)^ +{named}: ") as error:
        encode(config_for(str(source), out, **change), loader)
    assert str(error.value).count(" before, ") == 1
    assert part_bytes_of(out) == before


def test_overwrite_starts_again(source: str, tmp_path: Path) -> None:
    encode(config_for(source, tmp_path / "out", shard_rows=5), StubLoader())
    encode(config_for(source, tmp_path / "out", shard_rows=50, prompt="p ", overwrite=True), StubLoader())
    assert_holds(tmp_path / "out", texts_of(95), prompt="p ")


def test_bad_rows_are_named_or_skipped_and_listed(tmp_path: Path) -> None:
    texts: list = texts_of(30)
    texts[4], texts[17], texts[18] = None, 12, ["a"]
    source = write_jsonl(tmp_path / "c.jsonl", texts)
    with pytest.raises(InputError, match=r"rows that cannot be used: 3[\s\S]*c\.jsonl, row 5: ") as error:
        encode(config_for(source, tmp_path / "out"), StubLoader(unloadable="before the model"))
    assert "--on-bad-row skip" in error.value.remedy
    result = encode(config_for(source, tmp_path / "out", on_bad_row="skip"), StubLoader())
    good = [row for row in range(30) if row not in (4, 17, 18)]
    table = table_of(tmp_path / "out")
    assert table["row"].to_pylist() == good
    assert table["id"].to_pylist() == [f"id-{row}" for row in good]
    np.testing.assert_array_equal(
        np.stack(table["embedding"].to_pylist()).astype(np.float32), stub_embeddings([texts[row] for row in good])
    )
    assert sum(result.manifest.dropped.values()) == 3
    rejects = pq.read_table(tmp_path / "out" / "rejects.parquet")
    assert sorted(rejects["row"].to_pylist()) == [4, 17, 18]


def test_a_shard_of_bad_rows_alone(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "c.jsonl", [None] * 10 + ["good"])
    result = encode(config_for(source, tmp_path / "out", on_bad_row="skip"), StubLoader())
    assert [entry.rows for entry in result.manifest.entries] == [0, 1]
    assert table_of(tmp_path / "out")["id"].to_pylist() == ["id-10"]


@pytest.mark.parametrize("on_ray", [False, True])
def test_duplicate_ids_are_found_before_the_model_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_ray: bool
) -> None:
    if on_ray:
        monkeypatch.setattr(corpus, "IN_PROCESS_BYTES", 0)
        monkeypatch.setattr(corpus, "_BYTES_PER_BUCKET", 200)
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_jsonl(first, texts_of(20))
    second.write_text('{"id": "new", "text": "x"}\n{"id": "id-7", "text": "y"}\n')
    config = config_for(str(tmp_path / "*.jsonl"), tmp_path / "out")
    with pytest.raises(InputError, match=r"'id'[\s\S]*a\.jsonl, row 8, and .*b\.jsonl, row 2"):
        encode(config, StubLoader(unloadable="before the model"))
    encode(config_for(str(tmp_path / "*.jsonl"), tmp_path / "out", check_ids=False), StubLoader())
    assert read_manifest(str(tmp_path / "out")).rows == 22


def test_scanning_on_ray_gives_the_same(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode(config_for(source, tmp_path / "here"), StubLoader())
    monkeypatch.setattr(corpus, "IN_PROCESS_BYTES", 0)
    encode(config_for(source, tmp_path / "there"), StubLoader())
    assert part_bytes_of(tmp_path / "here") == part_bytes_of(tmp_path / "there")


def test_an_empty_corpus(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no input holds any row"):
        encode(config_for(write_jsonl(tmp_path / "c.jsonl", []), tmp_path / "out"), StubLoader())


@pytest.mark.usefixtures("steps")
def test_rows_without_an_embedding_are_named(source: str, tmp_path: Path) -> None:
    config = config_for(source, tmp_path / "out")
    with pytest.raises(ShardError) as caught:
        encode(config, StubLoader(nan=texts_of(95)[42], heavy=texts_of(95)[71]))
    message = str(caught.value)
    assert re.search(r"part-00004\.parquet \(rows 40 to 49\): .* row 42 \(id 'id-42'\) is not finite", message)
    assert re.search(r"part-00007\.parquet \(rows 70 to 79\): memory does not hold row 71 \(id 'id-71'\)", message)
    assert len(part_bytes_of(config.output)) == 8
    noted = {error.shard: error.message for error in status_of(config.output).errors}
    assert sorted(noted) == ["", "part-00004.parquet", "part-00007.parquet"]
    assert "is not finite" in noted["part-00004.parquet"] and "2 of 10 shards are not done" in noted[""]
    encode(config, StubLoader())
    assert_holds(config.output, texts_of(95))


@pytest.mark.usefixtures("steps")
def test_a_model_that_does_not_load_is_one_error(source: str, tmp_path: Path) -> None:
    with pytest.raises(StRayError, match="weights are damaged"):
        encode(config_for(source, tmp_path / "out"), StubLoader(unloadable="weights are damaged"))


@pytest.mark.usefixtures("steps")
def test_whatever_breaks_a_model_is_told(source: str, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="TypeError: no such layer"):
        encode(config_for(source, tmp_path / "out"), StubLoader(breaks="no such layer"))


@pytest.mark.slow
@pytest.mark.usefixtures("steps")
def test_a_shard_that_kills_its_process_is_named_and_the_rest_committed(source: str, tmp_path: Path) -> None:
    config = config_for(source, tmp_path / "out")
    with pytest.raises(
        ShardError, match=r"1 of 10 shards are not done:\s+part-00002\.parquet \(rows 20 to 29\): .*died"
    ):
        encode(config, StubLoader(fatal=texts_of(95)[25]))
    assert len(part_bytes_of(config.output)) == 9
    encode(config, StubLoader())
    assert_holds(config.output, texts_of(95))


@pytest.mark.usefixtures("steps")
def test_a_killed_actor_costs_nothing_but_time(source: str, tmp_path: Path) -> None:
    undisturbed = config_for(source, tmp_path / "undisturbed")
    encode(undisturbed, StubLoader())
    pids, out = tmp_path / "pids", tmp_path / "out"
    pids.mkdir()
    killed: list[int] = []

    def kill_after_first_commit() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            victims = [int(path.name) for path in pids.iterdir()]
            if victims and list(out.glob("commits/*.json")):
                os.kill(victims[0], signal.SIGKILL)
                killed.append(victims[0])
                return
            time.sleep(0.01)

    killer = threading.Thread(target=kill_after_first_commit)
    killer.start()
    encode(config_for(source, out), StubLoader(pids=str(pids), seconds=0.2))
    killer.join()
    assert killed
    assert len(list(pids.iterdir())) >= 2
    assert_holds(out, texts_of(95))
    assert part_bytes_of(out) == part_bytes_of(undisturbed.output)


def test_two_jobs_on_one_output(source: str, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    config = config_for(source, tmp_path / "out")
    first = threading.Thread(target=encode, args=(config, StubLoader(hold=str(hold))))
    first.start()
    while not Path(config.output, "run.json").exists():
        time.sleep(0.05)
    with pytest.raises(OutputError, match="another job is writing here"):
        encode(config, StubLoader())
    hold.unlink()
    first.join()
    assert_holds(config.output, texts_of(95))


def test_input_and_output_on_an_object_store(s3: str, tmp_path: Path) -> None:
    import fsspec

    place = f"{s3}/{tmp_path.name}"
    local = write_jsonl(tmp_path / "c.jsonl", texts_of(25))
    files = fsspec.filesystem("s3", use_listings_cache=False)
    files.put_file(local, f"{place}/in/c.jsonl")
    config = config_for(f"{place}/in/c.jsonl", f"{place}/out")
    encode(config, StubLoader())
    assert encode(config, StubLoader()).already_complete
    manifest = read_manifest(config.output)
    tables = [
        pq.read_table(f"{place}/out/data/{entry.name}".removeprefix("s3://"), filesystem=files)
        for entry in manifest.entries
    ]
    assert [row for table in tables for row in table["row"].to_pylist()] == list(range(25))
    names = {path.rpartition("/out/")[2] for path in files.find(f"{place}/out")}
    assert "lock.json" not in names
    assert {"run.json", "manifest.json", "data/part-00002.parquet", "commits/part-00002.json"} <= names
