"""A node of a two-node cluster vanishes in the middle of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from st_ray.runtime.encode.job import encode
from tests.conftest import ROOT
from tests.ray.corpora import assert_holds, config_for, part_bytes_of, texts_of, write_jsonl
from tests.stubs import StubLoader


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_removed_node_costs_only_its_shards(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "c.jsonl", texts_of(120))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tests.ray.two_nodes", source, str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "actors on the removed node: 1" in run.stdout
    assert_holds(out, texts_of(120))
    encode(config_for(source, tmp_path / "undisturbed"), StubLoader())
    assert part_bytes_of(out) == part_bytes_of(tmp_path / "undisturbed")
