"""Workers and machines that are killed at random cost time and nothing else. `make soak` lasts longer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.ray.corpora import assert_holds, part_bytes_of, texts_of, write_jsonl
from tests.ray.storm import SHARD_ROWS, jobs

SHARDS = 300


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("seed", range(int(os.environ.get("STORMS", "1"))))
def test_a_storm_changes_no_byte(seed: int, tmp_path: Path) -> None:
    texts = texts_of(SHARDS * SHARD_ROWS)
    source, out = write_jsonl(tmp_path / "c.jsonl", texts), tmp_path / "out"
    command = [sys.executable, "-m", "tests.ray.storm", source, str(out), str(seed)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    counts = json.loads(run.stdout.splitlines()[-1])
    print(counts)
    assert counts["workers killed"] and counts["machines killed"]
    assert_holds(out / "embeddings", texts)
    for name, job in jobs(source, str(tmp_path / "calm")):
        job()
        assert part_bytes_of(out / name) == part_bytes_of(tmp_path / "calm" / name), name
