"""The training jobs on a real Ray: processes that train together, are lost, and leave a model for both libraries."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from st_ray import BiEncoder, CrossEncoder, CrossEncoderRerankingEvaluator
from st_ray.core.errors import OutputError, ShardError
from st_ray.runtime.training.config import TrainBiEncoderConfig, TrainCrossEncoderConfig
from st_ray.runtime.training.job import train_model
from st_ray.runtime.training.summary import training_summary
from st_ray.store import fs
from st_ray.store.status import status_of
from tests.conftest import ROOT
from tests.models.tiny_models import save_tiny_classifier, save_tiny_model

pytestmark = pytest.mark.usefixtures("local_ray")

WORDS = ("cat", "dog", "hello", "world", "sat", "ran")
PAIRS = [(f"the {WORDS[n % 6]} {n}", f"a {WORDS[n * 5 % 6]} {n % 9}") for n in range(90)]


@pytest.fixture
def data(tmp_path: Path) -> str:
    rows = [{"query": a, "document": b, "label": float(a.split()[1] == b.split()[1])} for a, b in PAIRS]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "pairs.jsonl")


def pairs_config(tmp_path: Path, data: str, **changes: Any) -> TrainCrossEncoderConfig:
    base = tmp_path / "base"
    if not base.exists():
        save_tiny_classifier(base)
    settings: dict[str, Any] = {
        "base_model": str(base),
        "data": (data,),
        "eval_data": (data,),
        "output": str(tmp_path / "model"),
        "epochs": 2,
        "batch_size": 8,
        "lr": 1e-3,
        "eval_steps": 6,
        "log_steps": 3,
        "dtype": "float32",
    }
    return TrainCrossEncoderConfig(**{**settings, **changes})


def test_two_workers_make_a_model_that_both_libraries_load(tmp_path: Path, data: str) -> None:
    samples = [
        {
            "query": f"the {word}",
            "positive": [f"a {word}"],
            "negative": [f"a {other}" for other in WORDS if other != word],
        }
        for word in WORDS
    ]
    lists = tmp_path / "lists.jsonl"
    rows = [
        {"query": sample["query"], "documents": sample["positive"] + sample["negative"], "labels": [1, 0, 0, 0, 0, 0]}
        for sample in samples
    ]
    lists.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = pairs_config(tmp_path, data, eval_data=(str(lists),), workers=2)
    result = train_model(config)
    about = result.manifest.about
    assert about["steps"] == 24 and about["examples"] == 90 and about["best"]["step"] % 6 == 0
    scores = CrossEncoder(result.folder).predict(PAIRS)
    from sentence_transformers import CrossEncoder as Peer

    np.testing.assert_allclose(Peer(result.folder, device="cpu").predict(PAIRS), scores, atol=1e-6)
    folder = Path(result.folder)
    assert "library_name: sentence-transformers" in (folder / "README.md").read_text()
    assert "<svg" in (folder / "training/report.html").read_text()
    records = [json.loads(line) for line in (folder / "training/history.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(3, 25, 3))
    assert all(record["metrics"] for record in records if record["step"] % 6 == 0)
    assert list((folder / "training/events").iterdir())
    assert not (folder / "staging").exists()
    ranked = CrossEncoderRerankingEvaluator(samples)(CrossEncoder(result.folder))
    assert about["metrics"] == pytest.approx(ranked, abs=1e-6)
    assert "ndcg@10" in training_summary(result, "CrossEncoder")
    assert train_model(config).already_complete
    with pytest.raises(OutputError, match=r"lr: 0\.001 before, 0\.002 now"):
        train_model(replace(config, lr=2e-3))


@pytest.mark.slow
def test_a_killed_worker_costs_the_steps_since_the_checkpoint(tmp_path: Path, data: str) -> None:
    whole = train_model(pairs_config(tmp_path, data, output=str(tmp_path / "whole"), checkpoint_steps=4, epochs=4))
    killed = threading.Event()

    def kill_after_a_checkpoint() -> None:
        while not killed.is_set():
            if has_checkpoint(tmp_path / "model"):
                for process in psutil.process_iter(["cmdline"]):
                    if "RayTrainWorker" in " ".join(process.info["cmdline"] or []):
                        os.kill(process.pid, signal.SIGKILL)
                        killed.set()
            time.sleep(0.02)

    killer = threading.Thread(target=kill_after_a_checkpoint, daemon=True)
    killer.start()
    result = train_model(pairs_config(tmp_path, data, checkpoint_steps=4, epochs=4))
    assert killed.is_set()
    assert result.manifest.run["resumed_at"] > 0
    killed.set()
    same = [CrossEncoder(made.folder).predict(PAIRS).tolist() for made in (whole, result)]
    assert same[0] == same[1]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_cut_short_goes_on_from_its_checkpoint(tmp_path: Path, data: str, how: signal.Signals) -> None:
    config = pairs_config(tmp_path, data, epochs=100, eval_steps=100, checkpoint_steps=100)
    whole = train_model(replace(config, output=str(tmp_path / "whole")))
    command = [sys.executable, "-m", "jobs.train_cross_encoder"]
    for field in (
        "base_model",
        "output",
        "epochs",
        "batch_size",
        "lr",
        "eval_steps",
        "log_steps",
        "checkpoint_steps",
        "dtype",
    ):
        command += [f"--{field.replace('_', '-')}", str(getattr(config, field))]
    job = subprocess.Popen([*command, "--data", data, "--eval-data", data], cwd=ROOT)
    while not has_checkpoint(tmp_path / "model"):
        assert job.poll() is None, "the job ended too early"
        time.sleep(0.02)
    job.send_signal(how)
    assert job.wait(timeout=120) == (-how if how == signal.SIGKILL else 130)
    assert not (tmp_path / "model/model.safetensors").exists()
    found = status_of(config.output)
    assert (found.state, found.kind) == ("died" if how == signal.SIGKILL else "stopped", "trained model")
    stage = found.stage
    assert stage is not None and (stage.label, stage.noun, stage.rows) == ("train", "steps", 1200)
    assert 100 <= stage.rows_done < 1200 and stage.rows_done % 100 == 0
    result = train_model(config)
    assert 0 < result.manifest.run["resumed_at"] < result.manifest.about["steps"] == 1200
    # The job had a Ray, and so a number of threads, of its own: equal but for rounding.
    scores = [CrossEncoder(made.folder).predict(PAIRS) for made in (whole, result)]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-3)


def has_checkpoint(output: Path) -> bool:
    """Whether Ray Train has noted one of the training that writes there."""
    known = output / "staging/checkpoints/checkpoint_manager_snapshot.json"
    return known.exists() and "checkpoint_dir_name" in known.read_text()


def test_a_bi_encoder_on_an_object_store(tmp_path: Path, data: str, s3: str) -> None:
    base = save_tiny_model(tmp_path / "base", dense=8)
    config = TrainBiEncoderConfig(
        base_model=str(base),
        data=(data,),
        loss="cosent",
        output=f"{s3}/trained",
        batch_size=16,
        dtype="float32",
    )
    result = train_model(config)
    made, before = BiEncoder(result.folder), BiEncoder(base)
    texts = [text for text, _ in PAIRS]
    assert made.dimension == before.dimension
    assert not np.allclose(made.encode(texts), before.encode(texts), atol=1e-4)
    assert fs.exists(f"{s3}/trained/training/report.html") and not fs.exists(f"{s3}/trained/staging")


@pytest.mark.slow
def test_distillation_from_the_files_of_ms_marco(tmp_path: Path) -> None:
    queries = [f"{n}\twhat of the {WORDS[n % 6]}\n" for n in range(20)]
    passages = [f"{n}\tthe {WORDS[n % 6]} {WORDS[n // 6 % 6]}\n" for n in range(60)]
    scores = [f"{9 - n % 3}.5\t{n % 4}.25\t{n % 20}\t{n * 7 % 60}\t{n * 11 % 60}\n" for n in range(64)]
    scores.insert(5, "3\t1\t99\t1\t2\n")  # there is no such query
    with gzip.open(tmp_path / "teacher.tsv.gz", "wt") as stream:
        stream.writelines(scores)
    (tmp_path / "queries.tsv").write_text("".join(queries))
    (tmp_path / "collection.tsv").write_text("".join(passages))
    config = pairs_config(
        tmp_path,
        str(tmp_path / "teacher.tsv.gz"),
        data_format="teacher",
        queries=(str(tmp_path / "queries.tsv"),),
        collection=(str(tmp_path / "collection.tsv"),),
        loss="margin-mse",
        on_bad_row="skip",
        eval_data=(),
        epochs=1,
    )
    result = train_model(config)
    assert result.manifest.about["examples"] == 64 and result.manifest.about["steps"] == 8
    assert re.search(r"left out +1 rows: 1 no text for the query", training_summary(result, "CrossEncoder"))
    made, before = CrossEncoder(result.folder), CrossEncoder(tmp_path / "base", activation_fn="torch.nn.Identity")
    assert made.folder.activation.endswith("Identity")  # a teacher's logits are no probabilities
    assert np.abs(made.predict(PAIRS) - before.predict(PAIRS)).max() > 1e-3


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops(tmp_path: Path, data: str) -> None:
    rows = [{"query": a, "document": b, "label": 3e38 * (-1) ** n} for n, (a, b) in enumerate(PAIRS)]
    Path(data).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ShardError, match=r"not finite at step 1(.|\n)*checkpoints"):
        train_model(pairs_config(tmp_path, data, loss="mse", eval_data=(), warmup_ratio=0.0))
