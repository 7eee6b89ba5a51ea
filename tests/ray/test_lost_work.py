"""What a stage does with a shard whose step lost the processes that it asked."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray

from st_ray.core.errors import LostError, ShardError
from st_ray.runtime.meter import Meter
from st_ray.runtime.pipeline import Row, result_of
from st_ray.runtime.session import data_context
from st_ray.runtime.stage import ATTEMPTS, Stage, run_stage
from st_ray.runtime.stage_result import StageResult
from st_ray.store.output import OutputFolder, Part

pytestmark = pytest.mark.usefixtures("local_ray")


@ray.remote(max_retries=0)
def killed(times: int, tried: str) -> str:
    """A task that kills its process the first few times."""
    Path(tried, str(len(list(Path(tried).iterdir())))).touch()
    if len(list(Path(tried).iterdir())) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


@dataclass(frozen=True)
class Ask:
    """A step that asks another process for its part; that of shard 2 is killed the first few times."""

    times: int
    tried: str

    def __call__(self, row: Row) -> Part:
        answer = result_of(killed.remote(self.times, self.tried)) if row["shard"] == 2 else "alive"
        return Part(answer.encode(), 1, row["shard"])


def run(folder: Path, times: int) -> StageResult:
    (folder / "tried").mkdir()
    data_context()
    output = OutputFolder(str(folder / "out"), "numbers")
    stage = Stage("ask", range(4), [1] * 4, finish=Ask(times, str(folder / "tried")))
    with output.lock() as lock:
        return run_stage(stage, output, output.begin({}), lock, Meter())


def test_it_is_done_again(tmp_path: Path) -> None:
    result = run(tmp_path, times=2)
    assert [entry.rows for entry in result.entries] == [1] * 4
    assert len(list((tmp_path / "tried").iterdir())) == 3


def test_in_the_end_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"1 of 4 shards.*\n +part-00002.*: processes or machines were lost") as error:
        run(tmp_path, times=100)
    assert len(list((tmp_path / "tried").iterdir())) == ATTEMPTS
    assert "the 3 committed shards are kept" in error.value.remedy


def test_a_driver_is_told_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(LostError, match="WorkerCrashedError") as error:
        result_of(killed.remote(1, str(tmp_path)))
    assert "the same command again" in error.value.remedy
