"""The job that scores pairs on a real Ray: a real model's scores; shards without any pair, and a run cut short."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from st_ray import CrossEncoder
from st_ray.runtime.score_pairs.config import ScorePairsConfig
from st_ray.runtime.score_pairs.job import score_pairs
from st_ray.runtime.score_pairs.summary import score_pairs_summary
from st_ray.runtime.training.layout import ExampleFlags, find_layout
from st_ray.store.readers.sources import input_columns
from st_ray.store.readers.spec import ReadSpec
from tests.models.tiny_models import save_tiny_classifier
from tests.ray.corpora import part_bytes_of, table_of
from tests.stubs import StubScorerLoader, stub_score

pytestmark = pytest.mark.usefixtures("local_ray")


def test_scores_of_a_real_model_for_training(tmp_path: Path) -> None:
    tuples = {
        "query": [f"what of {row % 5}" for row in range(30)],
        "positive": [f"text {row} " + "word " * (row % 4) for row in range(30)],
        "negative": [f"the cat sat {row % 7} times" for row in range(30)],
    }
    pq.write_table(pa.table(tuples), tmp_path / "tuples.parquet")
    model = save_tiny_classifier(tmp_path / "model")
    config = ScorePairsConfig(
        data=(str(tmp_path / "tuples.parquet"),),
        cross_encoder=str(model),
        output=str(tmp_path / "out"),
        shard_rows=12,
        actors="1",
        cpus_per_actor=1.0,
        backend="torch",
        dtype="float32",
    )
    result = score_pairs(config)
    documents = zip(tuples["positive"], tuples["negative"], strict=True)
    pairs = [(query, text) for query, texts in zip(tuples["query"], documents, strict=True) for text in texts]
    found = table_of(tmp_path / "out")
    scores = CrossEncoder(str(model)).predict(pairs).reshape(30, 2)
    np.testing.assert_allclose(np.array(found["scores"].to_pylist()), scores, atol=1e-6)
    assert found.drop_columns("scores").to_pydict() == tuples
    assert f"{found['scores'].combine_chunks().flatten().to_numpy().min():.4f} to" in score_pairs_summary(result)

    flags = ExampleFlags(data=(str(tmp_path / "out" / "data"),), loss="margin-mse")
    layout = find_layout(input_columns(flags.data, ReadSpec()), flags)
    assert (layout.format, layout.query, layout.documents) == ("tuples", "query", ("positive", "negative"))
    assert layout.labels == ("scores",)


def test_shards_without_any_pair_and_a_run_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "lists.jsonl"
    path.write_text('{"query": "q", "docs": []}\n{"query": null, "docs": ["a"]}\n{"query": "r", "docs": ["a", "b"]}\n')
    config = ScorePairsConfig(
        data=(str(path),),
        cross_encoder="stub",
        output=str(tmp_path / "out"),
        shard_rows=1,
        on_bad_row="skip",
        actors="1",
        cpus_per_actor=1.0,
    )
    result = score_pairs(config, StubScorerLoader())
    assert table_of(tmp_path / "out")["scores"].to_pylist() == [[], [stub_score("r", "a"), stub_score("r", "b")]]
    assert [entry.rows for entry in result.manifest.entries] == [1, 0, 1]

    parts = part_bytes_of(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    (tmp_path / "out" / "commits" / "part-00002.json").unlink()
    (tmp_path / "out" / "data" / "part-00002.parquet").unlink()
    resumed = score_pairs(config, StubScorerLoader())
    assert (resumed.manifest.run["shards_done_before"], resumed.manifest.run["pairs"]) == (2, 2)
    assert part_bytes_of(tmp_path / "out") == parts
    assert score_pairs(config, StubScorerLoader()).already_complete
