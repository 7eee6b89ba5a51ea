"""The community job on a real Ray: the same as in memory, in several actors; killed, gone on with, refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from st_ray import community_detection
from st_ray.core.errors import InputError, OutputError
from st_ray.runtime.mining.communities.holders import start_holders
from st_ray.runtime.mining.communities.job import detect_communities
from st_ray.runtime.mining.communities.summary import communities_summary
from st_ray.runtime.resources import Node, plan_actors
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.output import OutputFolder
from tests.conftest import ROOT
from tests.inline_communities import communities_of, config_for, table_of
from tests.stores import vectors, write_store

pytestmark = pytest.mark.usefixtures("local_ray")

ROWS = vectors(2000)
THRESHOLD = 0.6


def cut_small(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("st_ray.runtime.mining.communities.count._LEAST_GROUP", 600)
    patch.setattr("st_ray.runtime.mining.communities.holders._LEAST_ROWS", 700)
    patch.setattr("st_ray.runtime.mining.communities.job.NOTE_SECONDS", 0.0)


def files_of(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "data").iterdir()}


@pytest.mark.slow
def test_it_goes_on_where_it_was_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)
    out, store = tmp_path / "out", write_store(tmp_path / "store", ROWS)
    config = config_for(store, out, threshold=THRESHOLD, actors="2")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(OutputFolder, "finish", stop)
        detect_communities(config)
    counts, found = out / "staging" / "counts", out / "staging" / "found"
    before = files_of(counts)
    notes = sorted(path.name for path in (found / "commits").iterdir())
    assert (len(before), len(files_of(out))) == (10, 1)
    assert len(notes) >= 2
    for gone in (
        counts / "commits" / "part-00003.json",
        found / "commits" / notes[-1],
        out / "commits" / "part-00000.json",
    ):
        gone.unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(OutputFolder, "finish", stop)
        detect_communities(config)
    again = files_of(counts)
    assert {name for name in before if again[name] != before[name]} == {"part-00003.parquet"}
    result = detect_communities(config)
    assert communities_of(table_of(out)) == community_detection(ROWS, THRESHOLD)
    assert not (out / "staging").exists()
    about, run = result.manifest.about, result.manifest.run
    assert run["candidates_done_before"] == about["rows_with_enough_neighbours"] > 0
    assert (run["asked"], run["shards_done_before"]) == (0, 11)
    assert "were done by an earlier run" in communities_summary(result)
    assert detect_communities(config).already_complete
    with pytest.raises(OutputError, match=r"(?m)^ +threshold: 0\.6 before, 0\.7 now$"):
        detect_communities(config_for(store, out, threshold=0.7))


@pytest.mark.slow
def test_an_actor_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)
    store = StoredVectors.open(write_store(tmp_path / "store", ROWS))
    plan = plan_actors([Node(4, 0)], shards=2, actors="2", cpus_per_actor=1.0)
    holders = start_holders(store, THRESHOLD, plan, 1 << 30)
    assert len(holders.actors) == 2
    asked = np.array([1500, 3, 700])
    np.testing.assert_array_equal(holders.vectors(asked), ROWS[asked])
    before = holders.neighbours(ROWS[asked], ROWS[:, 0] > 0)
    pid = ray.get(holders.actors[1].__ray_call__.remote(lambda holder: os.getpid()))
    os.kill(pid, signal.SIGKILL)
    after = holders.neighbours(ROWS[asked], ROWS[:, 0] > 0)
    holders.stop()
    assert len(before.ids)
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.offsets, after.offsets)


def test_rows_that_are_not_finite(tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[1203, 5] = np.inf
    with pytest.raises(InputError, match=r"store: the embedding of 'd1203' is not finite \(such rows: 1\)"):
        detect_communities(config_for(write_store(tmp_path / "store", rows), tmp_path / "out", actors="1"))


def killed_when(condition: Callable[[], bool], *flags: str) -> None:
    """Run the job, cut small, in a process of its own, and kill it once `condition` holds."""
    script = (
        "from st_ray.runtime.mining.communities import count, job\n"
        "count._LEAST_GROUP, job.NOTE_SECONDS = 2000, 0.0\n"
        "from jobs.detect_communities import main; main()"
    )
    driver = subprocess.Popen([sys.executable, "-c", script, *flags], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not condition():
        assert driver.poll() is None, "the driver ended too early"
        assert time.monotonic() < deadline, "the driver never came so far"
        time.sleep(0.01)
    driver.kill()
    driver.wait()


@pytest.mark.slow
def test_killed_while_counting_and_while_grouping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = vectors(20_000, 64)
    rows += 2.0 * np.random.default_rng(1).standard_normal(rows.shape).astype(np.float32)
    out, store = tmp_path / "out", write_store(tmp_path / "store", rows)
    staging = out / "staging"
    settings: dict[str, Any] = {"threshold": 0.35, "min_community_size": 5}
    flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    flags += ["--embeddings", store, "--output", str(out)]
    killed_when(lambda: len(list(staging.glob("counts/commits/*.json"))) >= 3, *flags)
    assert not (staging / "found").exists()
    killed_when(lambda: len(list(staging.glob("found/commits/*.json"))) >= 2, *flags)
    assert not (out / "manifest.json").exists()
    monkeypatch.setattr("st_ray.runtime.mining.communities.count._LEAST_GROUP", 2000)
    result = detect_communities(config_for(store, out, **settings))
    assert result.manifest.run["shards_done_before"] == 55
    assert result.manifest.run["candidates_done_before"] > 0
    assert communities_of(table_of(out)) == community_detection(rows, **settings)
