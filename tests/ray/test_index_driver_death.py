"""The driver of the index job is killed in each phase; the same command then finishes the work."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest

from st_ray import semantic_search
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.job import build_index
from tests.conftest import ROOT
from tests.stores import vectors, write_store

CORPUS = vectors(40_000, 32)
FLAGS = {"factory": "IVF128,Flat", "part_rows": 1000, "target_recall": 0.0, "merge": "disk"}


def killed_when(condition: Callable[[], bool], corpus: str, out: Path) -> None:
    """Run the job in a process of its own, and kill it once `condition` holds."""
    flags = [word for name, value in FLAGS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "jobs.build_index", "--embeddings", corpus, "--output", str(out), *flags]
    driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while not condition():
        assert driver.poll() is None, "the driver ended too early"
        assert time.monotonic() < deadline, "the driver never came so far"
        time.sleep(0.02)
    driver.kill()
    driver.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_killed_while_training_and_while_filling(tmp_path: Path) -> None:
    corpus, out = write_store(tmp_path / "corpus", CORPUS), tmp_path / "out"
    killed_when((out / "spec.json").exists, corpus, out)
    assert not (out / "manifest.json").exists()
    killed_when(lambda: len(list(out.glob("commits/part-*.json"))) >= 3, corpus, out)
    assert not (out / "manifest.json").exists()
    result = build_index(BuildIndexConfig(embeddings=corpus, output=str(out), **FLAGS))
    assert result.manifest.rows == len(CORPUS)
    assert 3 <= result.manifest.run["parts_done_before"] < 40
    index = faiss.read_index(str(out / "index.faiss"))
    index.nprobe = 128
    asked = CORPUS[:30] / np.linalg.norm(CORPUS[:30], axis=1, keepdims=True)
    truth = semantic_search(CORPUS[:30], CORPUS, top_k=5)
    assert index.search(asked, 5)[1].tolist() == [[hit["corpus_id"] for hit in hits] for hits in truth]
