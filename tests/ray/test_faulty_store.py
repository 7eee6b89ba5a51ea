"""Jobs on an object store that fails now and then, and on one that fails for good."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs._cli import run_job
from st_ray.core.errors import StRayError
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.job import build_index
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.job import encode
from st_ray.store import fs
from st_ray.store.manifest import read_manifest
from tests.faulty_store import FaultyStore, first, some
from tests.ray.corpora import config_for, texts_of
from tests.stores import vectors, write_store
from tests.stubs import StubLoader

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture
def place(s3: str, tmp_path: Path) -> str:
    """A folder of the store, with a corpus of 300 rows in it."""
    folder = f"{s3}/{tmp_path.name}"
    write_corpus(folder, 300)
    return folder


def write_corpus(folder: str, rows: int) -> None:
    lines = (json.dumps({"id": f"id-{row}", "text": text}) + "\n" for row, text in enumerate(texts_of(rows)))
    fs.write_atomic(f"{folder}/corpus.jsonl", "".join(lines).encode())


def parts_of(folder: str) -> dict[str, bytes]:
    """Every part by its name; the manifest and the folder agree on which there are."""
    names = fs.list_files(f"{folder}/data")
    assert names == [entry.name for entry in read_manifest(folder).entries]
    return dict(zip(names, fs.read_files(f"{folder}/data", names), strict=True))


def encoded(folder: str, name: str) -> dict[str, bytes]:
    result = encode(config_for(f"{folder}/corpus.jsonl", f"{folder}/{name}", shard_rows=10), StubLoader())
    assert result.manifest.rows == sum(entry.rows for entry in result.manifest.entries)
    return parts_of(f"{folder}/{name}")


def test_a_corpus_is_encoded_on_a_store_that_fails_now_and_then(place: str, store_server: FaultyStore) -> None:
    expected = encoded(place, "undisturbed")
    with store_server.failing(some(0.05)) as met:
        found = encoded(place, "disturbed")
    assert sum(met.values()) >= 5
    assert len(found) == 30
    assert found == expected


@pytest.mark.slow
def test_an_index_is_built_on_a_store_that_fails_now_and_then(place: str, store_server: FaultyStore) -> None:
    store = write_store(f"{place}/store", vectors(600), parts=6)

    def built(name: str) -> dict[str, bytes]:
        folder = f"{place}/{name}"
        flags = {"factory": "IVF4,Flat", "merge": "memory", "part_rows": 60, "target_recall": 0.0}
        build_index(BuildIndexConfig(embeddings=store, output=folder, **flags))
        return parts_of(folder) | {"whole": fs.read_bytes(f"{folder}/index.faiss")}

    expected = built("undisturbed")
    with store_server.failing(some(0.05, seed=1)) as met:
        found = built("disturbed")
    assert sum(met.values()) >= 3
    assert len(found) == 11
    assert found == expected


@pytest.mark.slow
def test_a_larger_corpus_is_encoded_on_a_store_that_fails_more_often(s3: str, store_server: FaultyStore) -> None:
    write_corpus(f"{s3}/larger", 2000)
    expected = encoded(f"{s3}/larger", "undisturbed")
    with store_server.failing(some(0.1, seed=2)) as met:
        found = encoded(f"{s3}/larger", "disturbed")
    assert sum(met.values()) >= 50
    assert len(found) == 200
    assert found == expected


def test_a_store_that_fails_for_good_ends_the_job_which_can_go_on(
    place: str, store_server: FaultyStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("botocore.retryhandler.random", SimpleNamespace(random=lambda: 0.001))
    arguments = ["--input", f"{place}/corpus.jsonl", "--model", "stub", "--output", f"{place}/out"]
    arguments += ["--id-column", "id", "--shard-rows", "10", "--actors", "1", "--cpus-per-actor", "1"]

    def run() -> None:
        run_job(EncodeConfig, lambda config: encode(config, StubLoader()).folder, arguments)

    with store_server.failing(first("503", 10**6)) as met, pytest.raises(SystemExit) as ended:
        run()
    shown = capsys.readouterr()
    assert ended.value.code == 1
    assert shown.err.count("error: ") == 1
    assert f"{place}/" in shown.err
    assert "AWS_ENDPOINT_URL" in shown.err
    assert "done:" not in shown.out
    assert met["503"] <= 20  # six tries of what is asked first, and of what may be left behind
    with store_server.failing(first("refused", 10**6, "PUT", "/out/manifest.json")), pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 1
    assert f"{place}/out/manifest.json" in capsys.readouterr().err
    run()
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == f"done: {place}/out"
    assert read_manifest(f"{place}/out").run["shards_done_before"] == 30


@pytest.mark.slow
def test_a_store_that_dies_in_the_midst_ends_the_job_before_long(place: str, store_server: FaultyStore) -> None:
    config = config_for(f"{place}/corpus.jsonl", f"{place}/out", shard_rows=10)
    commits = 0

    def die(method: str, path: str) -> str:
        nonlocal commits
        commits += method == "PUT" and "/commits/" in path
        return "refused" if commits > 3 else ""

    begun = time.monotonic()
    with store_server.failing(die), pytest.raises(StRayError) as ended:
        encode(config, StubLoader())
    assert f"{place}/" in str(ended.value)
    assert "run the same command again" in ended.value.remedy
    assert time.monotonic() - begun < 300  # of several requests, one after another; of each, waits are 31 at most
    assert encode(config, StubLoader()).manifest.run["shards_done_before"] == 3
