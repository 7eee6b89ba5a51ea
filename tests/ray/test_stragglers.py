"""A shard that takes long, and a process that hangs: what holds a job up, and what does not."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from st_ray.core.errors import ShardError
from st_ray.runtime import session, stragglers
from st_ray.runtime.at_work import titled
from st_ray.runtime.encode.job import encode
from st_ray.runtime.resources import Node, plan_actors
from st_ray.runtime.search import job as search_job
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.pool import SearchPool, Share, start_pool
from tests.ray.corpora import assert_holds, config_for, part_bytes_of, texts_of, write_jsonl
from tests.stores import vectors, write_store
from tests.stubs import StubLoader

pytestmark = pytest.mark.usefixtures("local_ray")

ROWS = 120
SHARDS = ROWS // 10


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write_jsonl(tmp_path / "c.jsonl", texts_of(ROWS))


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def commits(out: Path) -> int:
    return len(list(out.glob("commits/part-*.json")))


def is_at_a_shard(process: int) -> bool:
    return b" since " in Path(f"/proc/{process}/cmdline").read_bytes()


def test_a_process_that_hangs_is_named_and_can_be_killed(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    undisturbed, out, pids, hold = (tmp_path / name for name in ("undisturbed", "out", "pids", "hold"))
    encode(config_for(source, undisturbed), StubLoader())
    pids.mkdir()
    hold.touch()
    monkeypatch.setattr(stragglers, "LEAST_SECONDS", 3.0)
    monkeypatch.setattr(stragglers, "TIMES", 1)
    said: list[str] = []
    stopped: list[int] = []

    def stop_and_obey() -> None:
        wait_for(lambda: len(list(pids.iterdir())) == 2)
        stopped.append(int(next(pids.iterdir()).name))
        wait_for(lambda: is_at_a_shard(stopped[0]))
        os.kill(stopped[0], signal.SIGSTOP)
        hold.unlink()

        def is_named() -> bool:
            said.append(capfd.readouterr().err)
            return "kill -9" in said[-1]

        try:
            wait_for(is_named)
            # What the process has in hand, and what waits for it, is all that is missing.
            assert commits(out) >= SHARDS - 2
            os.kill(int(re.findall(r"kill -9 (\d+)", said[-1])[0]), signal.SIGKILL)
        finally:
            os.kill(stopped[0], signal.SIGCONT)

    user = threading.Thread(target=stop_and_obey)
    user.start()
    encode(config_for(source, out, actors="2", cpus_per_actor=1.0), StubLoader(pids=str(pids), hold=str(hold)))
    user.join()
    line = r"part-\d+\.parquet \(rows [\d,]+ to [\d,]+\): encode for \w+, in process (\d+) on .*"
    assert list(map(int, re.findall(line, said[-1]))) == stopped
    assert "which is stopped (SIGSTOP)" in said[-1]
    assert_holds(out, texts_of(ROWS))
    assert part_bytes_of(out) == part_bytes_of(undisturbed)


def test_a_stopped_actor_of_a_search_is_named_and_can_be_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_store(tmp_path / "corpus", vectors(60))
    write_store(tmp_path / "queries", vectors(8, seed=1), prefix="q")
    monkeypatch.setattr(stragglers, "LEAST_SECONDS", 1.0)
    monkeypatch.setattr(stragglers, "FIRST_SECONDS", 1.0)
    stopped: list[int] = []
    said: list[str] = []

    def start_and_stop(*args: Any) -> SearchPool:
        pool = start_pool(*args)
        stopped.append(ray.get(pool.actors[0].__ray_call__.remote(lambda holder: os.getpid())))
        os.kill(stopped[0], signal.SIGSTOP)
        return pool

    def obey() -> None:
        def is_named() -> bool:
            said.append(capfd.readouterr().err)
            return "wait for actors" in said[-1]  # before, the actor is stopped already

        try:
            wait_for(is_named)
            os.kill(int(re.findall(r"kill -9 (\d+)", said[-1])[0]), signal.SIGKILL)
        finally:
            with suppress(ProcessLookupError):
                os.kill(stopped[0], signal.SIGCONT)

    monkeypatch.setattr(search_job, "start_pool", start_and_stop)
    user = threading.Thread(target=obey)
    user.start()
    config = SearchConfig(
        queries=(str(tmp_path / "queries"),),
        embeddings=str(tmp_path / "corpus"),
        output=str(tmp_path / "out"),
        actors="1",
        cpus_per_actor=0.5,
    )
    result = search_job.search(config)
    user.join()
    assert re.search(rf"in process {stopped[0]} on .*, which is stopped \(SIGSTOP\)", said[-1])
    assert re.search(r"part-00000.parquet \(queries 0 to 7\): wait for actors for", said[-1])
    assert result.manifest.rows == 80


class _NotesItsTitle:
    """A searcher that finds nothing, and the making of it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self, count: Callable[[float], None]) -> _NotesItsTitle:
        return self

    def search(self, queries: np.ndarray, k: int, parameter: Any = None) -> tuple[np.ndarray, np.ndarray]:
        self._file.write_bytes(Path("/proc/self/cmdline").read_bytes())
        return np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)


def test_an_actor_of_a_search_says_which_shard_it_is_at(tmp_path: Path) -> None:
    plan = plan_actors([Node(4, 0)], shards=1, actors="1", cpus_per_actor=0.5)
    pool = start_pool([Share(_NotesItsTitle(tmp_path / "title"), None, 0, 1)], [[0]], plan)  # type: ignore[arg-type]
    try:
        with titled("answer", "part-00007.parquet", "/an output"):
            pool.search(np.zeros((1, 2), np.float32), 1)
    finally:
        pool.stop()
    title = (tmp_path / "title").read_text()
    assert title.startswith("ray::search part-00007.parquet since ") and "of /an output" in title


@pytest.mark.slow
def test_where_nothing_moves_any_more_the_job_ends_with_an_error_that_names_the_process(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, hold, pids = tmp_path / "out", tmp_path / "hold", tmp_path / "pids"
    hold.touch()
    pids.mkdir()
    monkeypatch.setattr(session, "STANDSTILL_SECONDS", 30.0)
    with pytest.raises(ShardError, match="nothing has moved for") as error:
        encode(config_for(source, out), StubLoader(hold=str(hold), pids=str(pids)))
    (process,) = (path.name for path in pids.iterdir())
    assert re.search(rf"part-\d+\.parquet \(rows .*\): encode for .*, in process {process} on ", error.value.message)
    assert "run the same command again" in error.value.remedy
    hold.unlink()
    encode(config_for(source, out), StubLoader())
    assert_holds(out, texts_of(ROWS))
