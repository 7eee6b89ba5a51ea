"""The bitext job on a real Ray: what is found in memory, with an actor that dies, resumed, and on an object store."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray

from st_ray import mine_bitext as in_memory
from st_ray.core.errors import InputError, OutputError
from st_ray.runtime.mining.bitext import job
from st_ray.runtime.mining.bitext.config import MineBitextConfig
from st_ray.runtime.mining.bitext.summary import bitext_summary
from st_ray.runtime.result import JobResult
from st_ray.runtime.search.pool import SearchPool, start_pool
from st_ray.store.pairs import open_pairs, read_pairs
from tests.stores import vectors, write_store

pytestmark = pytest.mark.usefixtures("local_ray")

SOURCE, TARGET = vectors(130), vectors(150, seed=1)


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    write_store(tmp_path / "source", SOURCE, prefix="s")
    write_store(tmp_path / "target", TARGET, parts=2, prefix="t")
    return tmp_path


def mined(folder: Path | str, **changes: Any) -> JobResult:
    settings = {"source": f"{folder}/source", "target": f"{folder}/target", "output": f"{folder}/out"}
    return job.mine_bitext(MineBitextConfig(**{**settings, "shard_rows": 40, "cpus_per_actor": 1.0, **changes}))


def found(folder: Path | str) -> list[list[float | int]]:
    table = pa.concat_tables(read_pairs(str(folder), entry) for entry in open_pairs(str(folder)).entries)
    one, other = ([int(name[1:]) for name in table[column].to_pylist()] for column in ("id_1", "id_2"))
    return [list(pair) for pair in zip(table["score"].to_pylist(), one, other, strict=True)]


@pytest.mark.slow
def test_an_actor_that_dies_changes_nothing(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("st_ray.runtime.search.target._LEAST_ROWS", 60)

    def start_and_kill(*args: Any) -> SearchPool:
        pool = start_pool(*args)
        os.kill(ray.get(pool.actors[0].__ray_call__.remote(lambda holder: os.getpid())), signal.SIGKILL)
        return pool

    monkeypatch.setattr(job, "start_pool", start_and_kill)
    result = mined(stores, actors="2", neighbors=3)
    assert result.manifest.run["actors"] == 2
    assert found(stores / "out") == in_memory(SOURCE, TARGET, neighbors=3)


def stop(*_: Any) -> Any:
    raise KeyboardInterrupt


def test_it_goes_on_where_it_was_cut_short(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def start_once(*args: Any) -> SearchPool:
        started.append(args)
        if len(started) == 2:
            raise KeyboardInterrupt
        return start_pool(*args)

    monkeypatch.setattr(job, "start_pool", start_once)
    with pytest.raises(KeyboardInterrupt):
        mined(stores, actors="1", threshold=1.0)
    staged = stores / "out" / "staging" / "forward" / "data"
    stamps = {path.name: path.stat().st_mtime_ns for path in staged.iterdir()}
    assert len(stamps) == 4
    (staged / "part-00002.arrow").unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(job, "bitext_page", stop)
        mined(stores, actors="1", threshold=1.0)
    assert len(started) == 4
    now = {path.name: path.stat().st_mtime_ns for path in staged.iterdir()}
    assert {name for name in stamps if now[name] != stamps[name]} == {"part-00002.arrow"}
    result = mined(stores, actors="1", threshold=1.0)
    assert len(started) == 4
    assert result.manifest.run["shards_done_before"]["backward"] == 4
    assert found(stores / "out") == in_memory(SOURCE, TARGET, threshold=1.0)
    assert mined(stores, actors="1", threshold=1.0).already_complete
    assert "complete already" in bitext_summary(mined(stores, threshold=1.0))
    with pytest.raises(OutputError, match=r"threshold: 1\.0 before, None now"):
        mined(stores)


@pytest.mark.slow
def test_on_an_object_store(s3: str, tmp_path: Path) -> None:
    place = f"{s3}/{tmp_path.name}"
    write_store(f"{place}/source", SOURCE, prefix="s")
    write_store(f"{place}/target", np.where(np.arange(150)[:, None] == 7, 0, TARGET), prefix="t")
    with pytest.raises(InputError, match="'t7' is all zeros"):
        mined(place)
    write_store(f"{place}/mended", TARGET, prefix="t")
    mined(place, target=f"{place}/mended", margin="distance", retrieval="intersection")
    assert found(f"{place}/out") == in_memory(SOURCE, TARGET, margin="distance", retrieval="intersection")
