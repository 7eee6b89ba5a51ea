"""The index job on a real Ray: parts, merges, measurement, resumption, and searches of what it built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from st_ray import semantic_search_faiss
from st_ray.core.errors import ConfigError, InputError, OutputError, ShardError
from st_ray.index.files import open_index
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.job import build_index
from st_ray.runtime.build_index.summary import build_index_summary
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.job import search
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.manifest import read_manifest
from tests.ray.test_search_job import expected, rows_of, table_of
from tests.stores import vectors, write_store

pytestmark = pytest.mark.usefixtures("local_ray")

CORPUS = vectors(2000)
QUERIES = vectors(20, seed=1)


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    write_store(tmp_path / "corpus", CORPUS, parts=5)
    write_store(tmp_path / "queries", QUERIES, prefix="q", parts=1)
    return tmp_path


def built(folder: Path, name: str = "index", **changes: Any) -> Any:
    settings = {"embeddings": str(folder / "corpus"), "target_recall": 0.0, "part_rows": 600}
    return build_index(BuildIndexConfig(output=str(folder / name), **{**settings, **changes}))


def searched(folder: Path, name: str, index: str | None = "index", **changes: Any) -> list[tuple[str, int, str]]:
    settings = {"queries": (str(folder / "queries"),), "top_k": 5, "actors": "1"}
    settings |= {"index": str(folder / index)} if index else {}
    search(SearchConfig(output=str(folder / name), **{**settings, **changes}))
    return rows_of(table_of(folder / name))


def scores_of(folder: Path) -> list[float]:
    return table_of(folder)["score"].to_pylist()


def test_parts_and_the_merged_index_find_what_exact_search_finds(stores: Path) -> None:
    truth = expected(QUERIES, CORPUS, 5)
    parts = built(stores, "parts", factory="Flat").manifest
    assert [entry.rows for entry in parts.entries] == [600, 600, 600, 200]
    assert searched(stores, "a", "parts", actors="2", cpus_per_actor=1.0) == truth
    built(stores, "whole", factory="IVF16,Flat", merge="memory", part_rows=None)
    assert searched(stores, "b", "whole", nprobe=16) == truth
    for flags in (0, faiss.IO_FLAG_MMAP):
        plain = faiss.read_index(str(stores / "whole" / "index.faiss"), flags)
        assert (plain.ntotal, plain.d) == (2000, 16)
        plain.nprobe = 16
        asked = QUERIES / np.linalg.norm(QUERIES, axis=1, keepdims=True)
        assert [f"d{row}" for row in plain.search(asked, 5)[1].ravel()] == [hit for _, _, hit in truth]


def test_disk_and_memory_merge_alike_and_steps_are_resumed(stores: Path) -> None:
    built(stores, "memory", factory="IVF16,SQ8", merge="memory", similarity="euclidean")
    built(stores, "disk", factory="IVF16,SQ8", merge="disk", similarity="euclidean")
    folder = stores / "disk"
    whole = (folder / "index.faiss").read_bytes()
    assert whole == (stores / "memory" / "index.faiss").read_bytes()
    parts = {path.name: path.read_bytes() for path in (folder / "data").iterdir()}
    trained = (folder / "trained.faiss").stat().st_mtime_ns
    for gone in ("manifest.json", "index.faiss", "commits/part-00001.json", "data/part-00003.faiss"):
        (folder / gone).unlink()
    result = built(stores, "disk", factory="IVF16,SQ8", merge="disk", similarity="euclidean")
    assert result.manifest.run["parts_done_before"] == 2
    assert {path.name: path.read_bytes() for path in (folder / "data").iterdir()} == parts
    assert (folder / "index.faiss").read_bytes() == whole
    assert (folder / "trained.faiss").stat().st_mtime_ns == trained
    assert built(stores, "disk", factory="IVF16,SQ8", merge="disk", similarity="euclidean").already_complete
    with pytest.raises(OutputError, match="factory: 'IVF16,SQ8' before, 'IVF8,SQ8' now"):
        built(stores, "disk", factory="IVF8,SQ8", merge="disk", similarity="euclidean")
    built(stores, "disk", factory="IVF8,SQ8", overwrite=True)
    assert faiss.read_index(str(folder / "data" / "part-00000.faiss")).nlist == 8
    assert not (folder / "index.faiss").exists()


def test_the_setting_that_reaches_the_target_is_found_and_used(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = built(stores, "here", factory="IVF32,Flat", target_recall=0.9, tune_rows=100).manifest.about
    monkeypatch.setattr("st_ray.runtime.build_index.measure.HERE_BYTES", 0)  # by actors
    result = built(stores, factory="IVF32,Flat", target_recall=0.9, tune_rows=100)
    about = result.manifest.about
    points = {point["parameter"]: point["recall"] for point in about["curve"]["points"]}
    assert points == {point["parameter"]: point["recall"] for point in here["curve"]["points"]}
    assert points[about["parameter"]] >= 0.9
    assert all(recall < 0.9 for parameter, recall in points.items() if parameter < about["parameter"])
    assert b"<svg" in (stores / "index" / "recall.svg").read_bytes()
    assert f"nprobe {about['parameter']}" in build_index_summary(result)
    hits = searched(stores, "hits")
    truth = set(expected(QUERIES, CORPUS, 5))
    assert len(truth & set(hits)) > 0.7 * len(truth)
    assert read_manifest(str(stores / "hits")).lineage["parameter"] == about["parameter"]


@pytest.mark.slow
def test_a_target_that_is_out_of_reach_is_said(tmp_path: Path) -> None:
    store = StoredVectors.open(write_store(tmp_path / "corpus", CORPUS, precision="int8"))
    write_store(tmp_path / "queries", QUERIES, prefix="q", parts=1)
    tuned = {"target_recall": 0.99, "tune_rows": 50, "tune_queries": str(tmp_path / "queries")}
    result = built(tmp_path, factory="IVF4,PQ2x4", similarity="dot", **tuned)
    assert not result.manifest.about["curve"]["reached"]
    assert "TARGET MISSED" in build_index_summary(result)
    assert result.manifest.about["curve"]["points"][-1]["recall"] < 0.9
    # Rescoring makes up for the codes, with the scores that the same codes have in memory.
    rescored = searched(tmp_path, "fine", rescore_multiplier=200)
    everything = {"corpus_precision": "int8", "ranges": np.array(store.ranges), "rescore_multiplier": 400, "top_k": 5}
    truth, _ = semantic_search_faiss(QUERIES, store.take(np.arange(store.rows)), **everything)
    scores = {(f"q{q}", f"d{hit['corpus_id']}"): hit["score"] for q, hits in enumerate(truth) for hit in hits}
    found = {(query, hit): score for (query, _, hit), score in zip(rescored, scores_of(tmp_path / "fine"), strict=True)}
    common = scores.keys() & found.keys()
    assert len(common) > 0.9 * len(scores)
    np.testing.assert_allclose([found[key] for key in common], [scores[key] for key in common], rtol=1e-5)


def test_bits(tmp_path: Path) -> None:
    write_store(tmp_path / "corpus", CORPUS, precision="binary")
    write_store(tmp_path / "queries", QUERIES, prefix="q", parts=1)
    built(tmp_path, factory="BIVF8", merge="memory")
    # All rows are rescored: which of many equal distances come first is up to faiss.
    truth = searched(tmp_path, "exact", index=None, embeddings=str(tmp_path / "corpus"), rescore_multiplier=400)
    assert searched(tmp_path, "found", nprobe=8, rescore_multiplier=400) == truth
    assert faiss.read_index_binary(str(tmp_path / "index" / "index.faiss")).ntotal == 2000


def test_auto_takes_an_exact_index_for_few_rows(stores: Path) -> None:
    result = built(stores, target_recall=0.95, tune_rows=20, part_rows=None, similarity="dot")
    assert result.manifest.about["factory"] == "Flat"
    assert result.manifest.about["curve"]["points"][0]["recall"] == 1.0
    assert searched(stores, "hits") == expected(QUERIES, CORPUS, 5, "dot")


def test_what_cannot_be_built_is_refused(stores: Path) -> None:
    for changes, error, message in (
        ({"factory": "IVF4096,Flat"}, InputError, "corpus has 2000 vectors; factory IVF4096,Flat needs at least 4096"),
        ({"factory": "HNSW8", "merge": "memory"}, ConfigError, "the parts of HNSW8 cannot be joined"),
        ({"factory": "nonsense"}, ConfigError, "--factory 'nonsense' makes no index"),
        ({"factory": "IVF64,Flat", "train_rows": 10}, ConfigError, "--train-rows 10: IVF64,Flat needs 64"),
    ):
        with pytest.raises(error, match=message):
            built(stores, "refused", **changes)
        assert not (stores / "refused").exists()


def test_no_index_fits_into_the_memory(stores: Path) -> None:
    with pytest.raises(ConfigError, match="no index of 2000 vectors of 16 dimensions fits"):
        built(stores, memory_gib=1e-6)


def test_an_index_of_embeddings_that_changed_is_refused(stores: Path) -> None:
    built(stores, factory="HNSW8")
    part = stores / "index" / "data" / "part-00002.faiss"
    whole = part.read_bytes()
    part.write_bytes(whole[:700])
    with pytest.raises(InputError, match=r"part-00002\.faiss is not a whole index file"):
        searched(stores, "hits")
    part.unlink()
    with pytest.raises(InputError, match=r"there is no index at .*part-00002\.faiss"):
        searched(stores, "hits")
    part.write_bytes((stores / "index" / "data" / "part-00003.faiss").read_bytes())
    with pytest.raises(InputError, match=r"part-00002\.faiss is short: it holds 200 vectors, its manifest says 600"):
        searched(stores, "hits")
    part.write_bytes(whole)
    for changes, error, message in (
        ({"nprobe": 3}, ConfigError, "is HNSW8, which has no nprobe"),
        ({"similarity": "dot"}, ConfigError, "was built for cosine"),
    ):
        with pytest.raises(error, match=message):
            searched(stores, "other", **changes)
    write_store(stores / "short", QUERIES[:, :5], prefix="q")
    with pytest.raises(InputError, match="dimension: 5 of the queries, 16 of the corpus"):
        searched(stores, "hits", queries=(str(stores / "short"),))
    write_store(stores / "other-corpus", CORPUS[::-1], parts=5)
    with pytest.raises(InputError, match="does not hold the embeddings that"):
        searched(stores, "hits", embeddings=str(stores / "other-corpus"))


def test_rows_that_are_not_finite_are_named(tmp_path: Path) -> None:
    broken = CORPUS.copy()
    broken[700, 3] = np.inf
    write_store(tmp_path / "corpus", broken, parts=5)
    with pytest.raises(ShardError, match=r"part-00001\.faiss .*: vector 700 holds NaN or infinity"):
        built(tmp_path, factory="Flat")


def test_on_an_object_store(s3: str) -> None:
    corpus = write_store(f"{s3}/index/corpus", CORPUS)
    config = BuildIndexConfig(
        embeddings=corpus, output=f"{s3}/index/index", factory="IVF8,Flat", merge="memory", target_recall=0.0
    )
    build_index(config)
    index = open_index(f"{s3}/index/index/index.faiss")
    asked = QUERIES / np.linalg.norm(QUERIES, axis=1, keepdims=True)
    index.nprobe = 8
    found = [f"d{row}" for row in index.search(asked, 5)[1].ravel()]
    assert found == [hit for _, _, hit in expected(QUERIES, CORPUS, 5)]
