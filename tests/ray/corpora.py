"""Small corpora, and what a finished store of one must hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from st_ray.core.histogram import Histogram
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.reembed.config import ReembedConfig
from st_ray.store.embeddings import embedding_array
from st_ray.store.manifest import read_manifest
from tests.stubs import stub_embeddings


def texts_of(rows: int) -> list[str]:
    return [f"text number {row} " + "word " * (row % 7) for row in range(rows)]


def write_jsonl(path: Path, texts: list[Any]) -> str:
    path.write_text("".join(json.dumps({"id": f"id-{row}", "text": text}) + "\n" for row, text in enumerate(texts)))
    return str(path)


def config_for(source: str, output: Path | str, **changes: Any) -> EncodeConfig:
    settings = {"model": "stub", "id_column": "id", "shard_rows": 10, "actors": "1", "cpus_per_actor": 1.0}
    return EncodeConfig(input=(source,), output=str(output), **{**settings, **changes})


def table_of(folder: Path | str) -> pa.Table:
    manifest = read_manifest(str(folder))
    return pa.concat_tables(pq.read_table(f"{folder}/data/{entry.name}") for entry in manifest.entries)


def assert_holds(folder: Path | str, texts: list[str], prompt: str = "") -> None:
    """Every row exactly once, in order, with its own embedding."""
    table = table_of(folder)
    assert table["id"].to_pylist() == [f"id-{row}" for row in range(len(texts))]
    assert table["row"].to_pylist() == list(range(len(texts)))
    np.testing.assert_array_equal(embedding_array(table["embedding"]), stub_embeddings(texts, prompt))
    manifest = read_manifest(str(folder))
    assert manifest.rows == len(texts)
    assert sorted(path.name for path in Path(folder, "data").iterdir()) == [e.name for e in manifest.entries]


def part_bytes_of(folder: Path | str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder, "data").glob("part-*")}


def counted_scores(folder: Path | str) -> dict[str, str]:
    """What the parts have counted of their scores, added up."""
    records = [json.loads(path.read_text())["scores"] for path in Path(folder, "commits").iterdir()]
    names = {name for record in records for name in record}
    return {
        name: Histogram.merged(Histogram.from_text(record[name]) for record in records if name in record).to_text()
        for name in names
    }


def histogram_text(scores: Any) -> str:
    """Of all scores in one."""
    return Histogram.of(np.asarray(scores, np.float32)).to_text()


def nightly_for(source: str, root: Path | str, **changes: Any) -> ReembedConfig:
    settings = {"model": "stub", "id_column": "id", "shard_rows": 20, "index": "Flat", "keep": 2}
    settings |= {"target_recall": 0.0, "recall_at": 5, "actors": "1", "cpus_per_actor": 1.0}
    return ReembedConfig(input=(source,), output=str(root), **{**settings, **changes})
