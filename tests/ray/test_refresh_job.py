"""`--refresh` on a real Ray: rows that have moved are found under their own numbers, and recall is measured again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from st_ray.core.errors import ShardError
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.job import build_index
from st_ray.runtime.build_index.summary import build_index_summary
from tests.ray.test_search_job import expected
from tests.stores import vectors, write_store

pytestmark = pytest.mark.usefixtures("local_ray")

POOL = vectors(2100)
QUERIES = vectors(20, seed=1)


def store_of(folder: str, rows: np.ndarray) -> str:
    return write_store(folder, POOL[rows], parts=5, texts=[f"text {row}" for row in rows.tolist()])


def built(folder: str, store: str, **changes: Any) -> Any:
    settings = {"factory": "IVF16,Flat", "part_rows": 600, "target_recall": 0.9, "tune_rows": 100, **changes}
    return build_index(BuildIndexConfig(embeddings=store, output=folder, **settings))


def test_on_an_object_store_rows_are_found_where_they_have_moved_to(s3: str, tmp_path: Path) -> None:
    old = built(f"{s3}/refresh/old", store_of(f"{s3}/refresh/before", np.arange(2000)))
    rows = np.concatenate([np.arange(2050, 2100), np.arange(40, 1900), np.arange(1950, 2000)])
    now = store_of(f"{s3}/refresh/now", rows)
    result = built(str(tmp_path / "new"), now, factory="auto", refresh=f"{s3}/refresh/old", merge="memory")
    about = result.manifest.about
    counts = {"kept": 1910, "added": 50, "removed": 90, "changed_since_training": 90}
    assert about["refresh"] == {"from": f"{s3}/refresh/old", "how": "refreshed", "why": None, **counts}
    assert about["trained_on"] == old.manifest.about["trained_on"]
    assert (about["curve"]["reached"], about["factory"]) == (True, "IVF16,Flat")
    assert "1,910 kept, 50 added, 90 removed" in build_index_summary(result)
    index = faiss.read_index(str(tmp_path / "new" / "index.faiss"))
    assert index.nprobe == about["parameter"]
    index.nprobe = 16
    asked = QUERIES / np.linalg.norm(QUERIES, axis=1, keepdims=True)
    truth = [hit for _, _, hit in expected(QUERIES, POOL[rows], 5)]
    assert [f"d{row}" for row in index.search(asked, 5)[1].ravel()] == truth


def test_a_damaged_part_of_the_old_index_is_named(tmp_path: Path) -> None:
    built(str(tmp_path / "old"), store_of(str(tmp_path / "before"), np.arange(2000)), target_recall=0.0)
    part = tmp_path / "old" / "data" / "part-00002.faiss"
    part.write_bytes(part.read_bytes()[:-1] + b"\xff")
    now = store_of(str(tmp_path / "now"), np.arange(1, 2000))
    with pytest.raises(ShardError, match=r"part-0000\d\.faiss .*old/data/part-00002\.faiss is not what its manifest"):
        built(str(tmp_path / "new"), now, refresh=str(tmp_path / "old"), target_recall=0.0)
