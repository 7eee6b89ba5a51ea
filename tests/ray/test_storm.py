"""Workers and machines that are killed at random cost time and nothing else. `make soak` lasts longer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.ray.corpora import assert_holds, texts_of
from tests.ray.storm_jobs import GROUPS, SHARD_ROWS, SHARDS, result_of, small_pieces, write_inputs

STORMS = int(os.environ.get("STORMS", "1"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("seed", range(STORMS))
def test_a_storm_changes_no_byte(group: str, seed: int, tmp_path: Path) -> None:
    stormy, calm = tmp_path / "stormy", tmp_path / "calm"
    write_inputs(tmp_path)
    command = [sys.executable, "-m", "tests.ray.storm", group, str(tmp_path), str(stormy), str(seed)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1000, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    counts = json.loads(run.stdout.splitlines()[-1])
    print(counts)
    assert counts["workers killed"] and counts["machines killed"]
    with small_pieces():
        for name, job in GROUPS[group](str(tmp_path), str(calm)):
            job()
            assert result_of(stormy / name) == result_of(calm / name), name
    if group == "retrieval":
        assert_holds(stormy / "embeddings", texts_of(SHARDS * SHARD_ROWS))
