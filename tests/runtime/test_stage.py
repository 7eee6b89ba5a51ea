"""What of a stage needs no Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from st_ray.core.errors import OutputError
from st_ray.runtime.stage import Stage, block_count, run_stage
from st_ray.store.output import OutputFolder, Part


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
