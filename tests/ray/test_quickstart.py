"""The demo, with a small corpus: real docstrings, the real model, and a second run that reuses everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def quickstart(output: Path) -> str:
    command = [sys.executable, "-m", "jobs.quickstart", "--output", str(output), "--texts", "160", "--top-k", "2"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == f"done: {output}"
    return ended.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("minilm")
def test_the_demo_answers_and_a_second_run_reuses(tmp_path: Path) -> None:
    out = tmp_path / "quickstart"
    first = quickstart(out)
    assert "160 docstrings" in first
    assert "solve a linear system with a banded matrix" in first
    assert first.count("\n  0.") >= 20  # a dozen questions, two scores each, nearly all of them above zero
    part = out / "embeddings" / "data" / "part-00000.parquet"
    written = part.stat().st_mtime_ns
    again = quickstart(out)
    assert "nothing to do" in again
    assert "harvesting" not in again
    assert part.stat().st_mtime_ns == written
