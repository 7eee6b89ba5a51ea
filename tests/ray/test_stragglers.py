"""A shard that takes long, and a process that hangs: what holds a job up, and what does not."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from st_ray.core.errors import ShardError
from st_ray.runtime import session, stragglers
from st_ray.runtime.encode.job import encode
from tests.ray.corpora import assert_holds, config_for, part_bytes_of, texts_of, write_jsonl
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
