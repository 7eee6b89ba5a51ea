"""Exact search over a store of several parts and row groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from st_ray.core.errors import InputError
from st_ray.search.exact import search_store
from st_ray.store import embeddings
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder, Part


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((50, 6)).astype(np.float32)


def make_store(folder: Path, vectors: np.ndarray, cuts: list[int], keep_text: bool) -> str:
    lineage = {"keep_text": keep_text}
    output = OutputFolder(str(folder), embeddings.KIND)
    writer = output.begin(lineage)
    entries = []
    for number, (first, last) in enumerate(zip([0, *cuts], [*cuts, len(vectors)], strict=True)):
        rows = range(first, last)
        meta = {"id": [f"id-{row}" for row in rows], "row": pa.array(rows, pa.int64())}
        meta["text_digest"] = embeddings.text_digests([str(row) for row in rows])
        if keep_text:
            meta["text"] = [f"text {row}" for row in rows]
        data = embeddings.part_bytes(pa.table(meta), vectors[first:last])
        entries.append(writer.commit(f"part-{number:05d}.parquet", Part(data, len(rows), first)))
    output.finish(Manifest(embeddings.KIND, lineage, tuple(entries), {"dimension": vectors.shape[1]}))
    return str(folder)


@pytest.mark.parametrize("cuts", [[], [1, 20, 20, 37]])
@pytest.mark.parametrize("keep_text", [True, False])
def test_it_equals_brute_force(
    tmp_path: Path, vectors: np.ndarray, cuts: list[int], keep_text: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "ROW_GROUP_ROWS", 7)
    folder = make_store(tmp_path / "store", vectors, cuts, keep_text)
    queries = vectors[[3, 40]] + 0.1
    for query, hits in zip(queries, search_store(folder, queries, 5), strict=True):
        scores = vectors @ query
        expected = np.argsort(-scores, kind="stable")[:5]
        np.testing.assert_array_equal(hits.positions, expected)
        np.testing.assert_allclose(hits.scores, scores[expected], rtol=1e-6)
        assert hits.ids == [f"id-{row}" for row in expected]
        assert hits.texts == [f"text {row}" if keep_text else None for row in expected]


def test_more_asked_than_there_is(tmp_path: Path, vectors: np.ndarray) -> None:
    folder = make_store(tmp_path / "store", vectors[:4], [2], False)
    assert len(search_store(folder, vectors[:1], 10)[0].ids) == 4


def test_wrong_dimension_kind_and_damage(tmp_path: Path, vectors: np.ndarray) -> None:
    folder = make_store(tmp_path / "store", vectors, [20], False)
    with pytest.raises(InputError, match="queries have 3 dimensions"):
        search_store(folder, np.zeros((1, 3), np.float32), 1)
    with pytest.raises(InputError, match="not a finished output"):
        search_store(str(tmp_path), vectors, 1)
    (tmp_path / "store" / "data" / "part-00001.parquet").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"part-00001\.parquet"):
        search_store(folder, vectors[:1], 1)


def test_integers_are_refused(tmp_path: Path) -> None:
    output = OutputFolder(str(tmp_path / "store"), embeddings.KIND)
    output.begin({"precision": "int8"})
    output.finish(Manifest(embeddings.KIND, {"precision": "int8"}, (), {"dimension": 6}))
    with pytest.raises(InputError, match="holds int8 embeddings"):
        search_store(str(tmp_path / "store"), np.zeros((1, 6), np.float32), 1)
