"""Relative paths on a Ray that was started in another folder begin where the command is given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from st_ray.store.manifest import read_manifest
from tests.conftest import ROOT
from tests.models.tiny_models import save_tiny_model
from tests.ray.corpora import texts_of, write_jsonl
from tests.ray.heads import free_port, started_head, wait_for_port

ENCODE = "encode --input corpus/*.jsonl --id-column id --text-columns text --model model --output out/store/"
INDEX = "build_index --embeddings out/store --factory Flat --target-recall 0 --output out/index"
SEARCH = "search --index out/index --queries asked.jsonl --id-column id --model model --top-k 3 --output out/hits"


@pytest.mark.slow
def test_a_command_and_all_workers_mean_the_same_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, elsewhere, log = tmp_path / "here", tmp_path / "elsewhere", tmp_path / "log"
    for folder in (here / "corpus", elsewhere, log):
        folder.mkdir(parents=True)
    write_jsonl(here / "corpus" / "1.jsonl", texts_of(40))
    write_jsonl(here / "asked.jsonl", texts_of(4))
    save_tiny_model(here / "model")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(command: str, **more: str) -> str:
        job, *flags = command.split()
        ended = subprocess.run(
            [sys.executable, "-m", f"jobs.{job}", *flags],
            cwd=here,
            env={**os.environ, **more},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    port = free_port()
    with monkeypatch.context() as patch:
        patch.chdir(elsewhere)
        with started_head(log, "--port", str(port), "--num-cpus", "2", "--include-dashboard", "false"):
            wait_for_port(port)
            on_cluster = {"RAY_ADDRESS": f"127.0.0.1:{port}"}
            assert run(ENCODE, **on_cluster).endswith("\ndone: out/store\n")
            assert run(INDEX, **on_cluster).endswith("\ndone: out/index\n")
            assert read_manifest(str(here / "out" / "index")).about["embeddings"] == "out/store"
            assert run(SEARCH, **on_cluster).endswith("\ndone: out/hits\n")
    assert list(elsewhere.iterdir()) == []
    assert "nothing to do" in run(ENCODE)  # also without a cluster
