"""The job that mines hard negatives on a real Ray: what is found in memory, resumed, refused, with real models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset

from st_ray import BiEncoder, CrossEncoder
from st_ray import mine_hard_negatives as in_memory
from st_ray.core.errors import OutputError, ShardError
from st_ray.runtime.mining.negatives.config import MineHardNegativesConfig
from st_ray.runtime.mining.negatives.job import mine_hard_negatives
from st_ray.runtime.mining.negatives.summary import negatives_summary
from st_ray.runtime.result import JobResult
from st_ray.store import fs
from st_ray.store.manifest import read_manifest
from tests.models.tiny_models import save_tiny_classifier, save_tiny_model
from tests.stubs import StubLoader, StubScorerLoader, stub_embeddings, stub_score

pytestmark = pytest.mark.usefixtures("local_ray")

RNG = np.random.default_rng(0)
WORDS = ["".join(RNG.choice(list("abcdefgh"), RNG.integers(2, 12))) for _ in range(160)]
PAIRS = [(WORDS[RNG.integers(50)], WORDS[50 + RNG.integers(60)]) for _ in range(120)]
CORPUS = [WORDS[place] for place in RNG.integers(30, 160, 110)]


class StubModel:
    """What `StubLoader` loads, for `in_memory`."""

    similarity_fn_name = "cosine"

    def encode(self, texts: Sequence[str], prompt: str | None = None, **_: Any) -> torch.Tensor:
        found = stub_embeddings(list(texts), prompt or "")
        return torch.from_numpy(found / np.linalg.norm(found, axis=1, keepdims=True))


class StubCrossEncoder:
    """What `StubScorerLoader` loads, for `in_memory`."""

    def predict(self, pairs: Sequence[tuple[str, str]], **_: Any) -> np.ndarray:
        return np.array([stub_score(*pair) for pair in pairs], np.float32)


def write_inputs(folder: str) -> dict[str, Any]:
    lines = [json.dumps({"anchor": anchor, "positive": positive}) + "\n" for anchor, positive in PAIRS]
    fs.write_atomic(fs.join(folder, "pairs.jsonl"), "".join(lines).encode())
    fs.write_atomic(fs.join(folder, "corpus.txt"), "\n".join(CORPUS).encode())
    return {"pairs": (fs.join(folder, "pairs.jsonl"),), "corpus": (fs.join(folder, "corpus.txt"),)}


def config_of(folder: Path | str, name: str = "out", **changes: Any) -> MineHardNegativesConfig:
    place = str(folder)
    settings = {"model": "stub", "output": fs.join(place, name), "work": fs.join(place, "work"), "range_max": 12}
    machines = {"actors": "1", "cpus_per_actor": 1.0, "shard_rows": 70}
    return MineHardNegativesConfig(**{**settings, **machines, **write_inputs(place), **changes})


def rows_of(result: JobResult) -> list[dict[str, Any]]:
    parts = []
    for entry in result.manifest.entries:
        parts.append(pq.read_table(pa.BufferReader(fs.read_bytes(fs.join(result.folder, "data", entry.name)))))
    return pa.concat_tables(parts).to_pylist()


def expected(model: Any, cross_encoder: Any = None, **options: Any) -> list[dict[str, Any]]:
    dataset = Dataset.from_dict({"anchor": [a for a, _ in PAIRS], "positive": [p for _, p in PAIRS]})
    options = {"range_max": 12, "verbose": False, **options}
    return in_memory(dataset, model, corpus=CORPUS, cross_encoder=cross_encoder, **options).to_list()


def test_with_a_cross_encoder_resumed(tmp_path: Path) -> None:
    rules = {"relative_margin": 0.25, "output_format": "labeled-list", "output_scores": True}
    config = config_of(tmp_path, **rules)
    with pytest.raises(ShardError, match="is not finite"):
        mine_hard_negatives(config, StubLoader(), StubScorerLoader(nan=PAIRS[0][1]))
    result = mine_hard_negatives(config, StubLoader(), StubScorerLoader())
    assert rows_of(result) == expected(StubModel(), StubCrossEncoder(), **rules)
    assert result.manifest.run["steps_done"] == ["scores"]
    assert mine_hard_negatives(config, StubLoader(), StubScorerLoader()).already_complete
    other = {"sampling_strategy": "random", "max_score": 0.5, "output_format": "n-tuple", "seed": 5}
    second = mine_hard_negatives(config_of(tmp_path, "other", **other), StubLoader(), StubScorerLoader())
    assert second.manifest.run["steps_done"] == []
    assert rows_of(second) == expected(StubModel(), StubCrossEncoder(), **other)
    assert "none, all were done before" in negatives_summary(second)
    deeper = mine_hard_negatives(config_of(tmp_path, "deeper", range_max=15), StubLoader(), StubScorerLoader())
    assert rows_of(deeper) == expected(StubModel(), StubCrossEncoder(), range_max=15)
    scored = [read_manifest(str(tmp_path / "work" / depth / "scores")).rows for depth in ("depth-00012", "depth-00015")]
    assert scored[1] < scored[0] / 2
    with pytest.raises(
        OutputError, match=r"work/depth-00012/scores was begun with other .*\n +cross_encoder: "
    ) as raised:
        mine_hard_negatives(config_of(tmp_path, "new"), StubLoader(), StubScorerLoader(labels=2))
    assert f"remove {tmp_path}/work/depth-00012/scores" in raised.value.remedy


@pytest.mark.slow
def test_real_models_an_index_and_an_object_store(tmp_path: Path, s3: str) -> None:
    model = save_tiny_model(tmp_path / "model", prompts={"query": "ask ", "document": "say "})
    classifier = save_tiny_classifier(tmp_path / "classifier")
    models = {"model": str(model), "cross_encoder": str(classifier), "dtype": "float32", "backend": "torch"}
    options = {"output_scores": True, "num_negatives": 4, "corpus_prompt": "tell "}
    place = f"{s3}/{tmp_path.name}"
    result = mine_hard_negatives(config_of(place, work=None, factory="Flat", **models, **options))
    memory = expected(BiEncoder(model, device="cpu"), CrossEncoder(classifier, device="cpu"), **options)
    found = rows_of(result)
    assert [row["negative"] for row in found] == [row["negative"] for row in memory]
    np.testing.assert_allclose([row["scores"] for row in found], [row["scores"] for row in memory], atol=1e-5)
    assert mine_hard_negatives(config_of(place, work=None, factory="Flat", **models, **options)).already_complete
    other = {**models, "model": str(save_tiny_model(tmp_path / "other"))}
    with pytest.raises(OutputError, match=r"work/corpus was begun with other settings:\n +model: "):
        mine_hard_negatives(config_of(place, "second", work=fs.join(place, "out", "work"), **other, **options))
