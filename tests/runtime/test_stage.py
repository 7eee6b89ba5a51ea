"""What of a stage needs no Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from st_ray.core.errors import OutputError
from st_ray.runtime.stage import Stage, block_count, run_stage
from st_ray.runtime.stage_result import StageResult, steady_rate
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import Commit, OutputFolder, Part


@pytest.mark.parametrize(
    ("shards", "rows", "blocks"),
    [
        (1, 4, 1),
        (300, 4, 300),
        (512, 1, 512),
        (20_000, 4, 512),
        (200_000, 4, 3125),
        (20_000, 50_000, 20_000),
        (9, 0, 9),
    ],
)
def test_small_shards_share_blocks_where_there_are_many(shards: int, rows: int, blocks: int) -> None:
    assert block_count([rows] * shards) == blocks


@pytest.mark.parametrize(
    ("commits", "rate"),
    [
        ([], 0.0),
        ([(3.0, 100)], 0.0),
        ([(3.0, 100), (3.0, 100)], 0.0),
        ([(3.0, 70), (5.0, 100)], 50.0),
        ([(float(second), 100) for second in range(1, 9)], 100.0),
        # Two workers, each a shard in two seconds, in turns and in step.
        ([(0.5 + second, 100) for second in range(20)], 100.0),
        ([(2.0 + second - second % 2, 100) for second in range(20)], 100.0),
    ],
)
def test_the_rate_is_that_of_all_workers_together(commits: list[tuple[float, int]], rate: float) -> None:
    assert steady_rate(commits[::-1]) == pytest.approx(rate, rel=0.005)


def test_nothing_is_published_without_the_lock(tmp_path: Path) -> None:
    output = OutputFolder(str(tmp_path), "numbers")
    done: Any = None  # neither finishes a part nor counts
    writer, stage = output.begin({}), Stage("count", [0], [1], done)
    entry = writer.commit(*stage.names(), Part(b"1", 1, 0))
    with output.lock() as lock:
        assert run_stage(stage, output, writer, lock, done).entries == (entry,)
        (tmp_path / "lock.json").write_text('{"token": "another job"}')
        lock._look(brief=False)
        with pytest.raises(OutputError, match="another job took over"):
            run_stage(stage, output, writer, lock, done)


def test_the_seconds_up_to_the_first_commit_add_up() -> None:
    entries = tuple(ShardEntry(name, 1, 0, 1, "") for name in "abc")
    took = {"read": 0.5, "encode": 1.0, "make part": 0.25, "write": 0.25}
    commits = (Commit(entries[0], 5.0, {}), Commit(entries[1], 20.0, took), Commit(entries[2], 19.0, took))
    result = StageResult(entries, entries[1:], 1, 2, 9.0, 4.0, 0.0, commits)
    laps = {"Ray": 2.0, "model": 2.5, "first shard": 1.5}
    assert result.start_up({"Ray": 2.0}, "encode") == laps
    assert result.start_up({"Ray": 2.0}, "encode", 2.0) == {**laps, "conversion": 2.0, "model": 0.5}
    assert StageResult(entries, (), 3, 0, 1.0, 0.0, 0.0, commits).start_up({"Ray": 2.0}, "encode") == {"Ray": 2.0}
