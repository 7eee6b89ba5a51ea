"""The search job on a real Ray: exact, in any number of shards and actors, resumed, refused."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray

from st_ray import quantize_embeddings, semantic_search, semantic_search_faiss
from st_ray.core.errors import ConfigError, InputError, OutputError, ShardError
from st_ray.runtime.encode.job import encode
from st_ray.runtime.resources import Node, plan_actors
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.job import search
from st_ray.runtime.search.pool import start_pool
from st_ray.runtime.search.target import Target
from st_ray.scoring import similarity
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.hits import read_hits
from st_ray.store.manifest import read_manifest
from tests.ray.corpora import config_for, counted_scores, histogram_text, texts_of, write_jsonl
from tests.stores import vectors, write_store
from tests.stubs import StubLoader, stub_embeddings

pytestmark = pytest.mark.usefixtures("local_ray")

CORPUS = vectors(300)
QUERIES = vectors(25, seed=1)


def searched(folder: Path, name: str, **changes: Any) -> Any:
    settings = {"queries": (str(folder / "queries"),), "embeddings": str(folder / "corpus"), "top_k": 7}
    return search(SearchConfig(output=str(folder / name), **{**settings, **changes}))


def table_of(folder: Path | str) -> pa.Table:
    return pa.concat_tables(read_hits(str(folder), entry) for entry in read_manifest(str(folder)).entries)


def expected(queries: np.ndarray, corpus: np.ndarray, k: int, name: str = "cosine") -> list[tuple[str, int, str]]:
    function = {"cosine": "cos_sim", "dot": "dot_score"}.get(name, f"{name}_sim")
    found = semantic_search(queries, corpus, top_k=k, score_function=getattr(similarity, function))
    return [
        (f"q{query}", rank, f"d{hit['corpus_id']}")
        for query, hits in enumerate(found)
        for rank, hit in enumerate(hits, start=1)
    ]


def rows_of(table: pa.Table) -> list[tuple[str, int, str]]:
    columns = (table[name].to_pylist() for name in ("query_id", "rank", "corpus_id"))
    return list(zip(*columns, strict=True))


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    write_store(tmp_path / "corpus", CORPUS)
    write_store(tmp_path / "queries", QUERIES, parts=2, prefix="q")
    return tmp_path


def test_shards_actors_and_formats_change_nothing(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("st_ray.runtime.search.target._LEAST_ROWS", 40)
    truth = expected(QUERIES, CORPUS, 7)
    one = searched(stores, "one", actors="1", cpus_per_actor=1.0)
    many = searched(stores, "many", actors="3", cpus_per_actor=1.0, shard_rows=4, format="trec", keep_gib=1.0)
    assert [result.manifest.run["actors"] for result in (one, many)] == [1, 3]
    for name in ("one", "many"):
        assert rows_of(table_of(stores / name)) == truth
    assert table_of(stores / "one")["score"].equals(table_of(stores / "many")["score"])
    assert [path.suffix for path in (stores / "many" / "data").iterdir()] == [".trec"] * 7


def test_another_similarity_and_json_lines(stores: Path) -> None:
    searched(stores, "out", similarity="euclidean", format="jsonl", actors="1", shard_rows=9, keep_gib=1e-6)
    assert rows_of(table_of(stores / "out")) == expected(QUERIES, CORPUS, 7, "euclidean")


def test_half_precision_and_more_asked_than_there_is(tmp_path: Path) -> None:
    write_store(tmp_path / "corpus", CORPUS[:20], precision="float16", parts=4)
    write_store(tmp_path / "queries", QUERIES[:3], prefix="q", parts=1)
    result = searched(tmp_path, "out", top_k=50, actors="1")
    assert result.manifest.rows == 60
    assert rows_of(table_of(tmp_path / "out")) == expected(QUERIES[:3], CORPUS[:20].astype(np.float16), 50)


@pytest.mark.slow
def test_texts_are_encoded_with_the_settings_of_the_corpus(tmp_path: Path) -> None:
    texts = texts_of(40)
    encode(config_for(write_jsonl(tmp_path / "corpus.jsonl", texts), tmp_path / "corpus", normalize=True), StubLoader())
    asked = write_jsonl(tmp_path / "asked.jsonl", texts[5:8])
    config = SearchConfig(
        queries=(asked,),
        embeddings=str(tmp_path / "corpus"),
        output=str(tmp_path / "out"),
        id_column="id",
        prompt="t",
        top_k=2,
    )
    search(config, StubLoader())
    found = table_of(tmp_path / "out")
    assert found["query_id"].to_pylist() == ["id-0", "id-0", "id-1", "id-1", "id-2", "id-2"]
    assert found["corpus_id"].to_pylist()[::2] == ["id-5", "id-6", "id-7"]
    queries = StoredVectors.open(str(tmp_path / "out" / "queries"))
    expected_queries = stub_embeddings(texts[5:8], prompt="t")
    expected_queries /= np.linalg.norm(expected_queries, axis=1, keepdims=True)
    np.testing.assert_array_equal(queries.take(np.arange(3)), expected_queries)
    assert queries.lineage["normalize"] is True
    assert search(config, StubLoader()).already_complete
    with pytest.raises(InputError, match="no such file"):
        mistaken = {**vars(config), "queries": ("nowhere.jsonl",), "output": str(tmp_path / "new")}
        search(SearchConfig(**mistaken), StubLoader())
    assert not (tmp_path / "new" / "run.json").exists()
    with pytest.raises(OutputError, match="top_k: 2 before, 3 now"):
        search(SearchConfig(**{**vars(config), "top_k": 3}), StubLoader())


def test_it_goes_on_where_it_was_cut_short(stores: Path) -> None:
    searched(stores, "out", shard_rows=5, actors="1")
    whole = {path.name: path.read_bytes() for path in (stores / "out" / "data").iterdir()}
    for gone in ("manifest.json", "commits/part-00001.json", "data/part-00003.parquet"):
        (stores / "out" / gone).unlink()
    result = searched(stores, "out", shard_rows=5, actors="1")
    assert (result.manifest.run["shards_done_before"], result.manifest.run["queries"]) == (3, 10)
    assert {path.name: path.read_bytes() for path in (stores / "out" / "data").iterdir()} == whole
    table = table_of(stores / "out")
    best = table.filter(pa.array(table["rank"].to_numpy() == 1))
    assert counted_scores(stores / "out") == {
        "all hits": histogram_text(table["score"]),
        "the best hit of each query": histogram_text(best["score"]),
    }
    page = (stores / "out" / "report.html").read_text()
    assert "<h2>Scores of all hits</h2>\n<p>How many of 175 have" in page
    assert "<h2>Scores of the best hit of each query</h2>\n<p>How many of 25 have" in page


def test_steps_are_scored_as_the_floats_they_stand_for(tmp_path: Path) -> None:
    store = StoredVectors.open(write_store(tmp_path / "corpus", CORPUS, precision="uint8"))
    write_store(tmp_path / "queries", QUERIES, prefix="q")
    searched(tmp_path, "out", actors="1", similarity="dot", rescore_multiplier=2)
    codes = store.take(np.arange(store.rows))
    everything = {"corpus_precision": "uint8", "ranges": np.array(store.ranges), "rescore_multiplier": 50, "top_k": 7}
    hits, _ = semantic_search_faiss(QUERIES, codes, **everything)
    found = table_of(tmp_path / "out")
    np.testing.assert_allclose(found["score"].to_numpy(), [hit["score"] for row in hits for hit in row], rtol=1e-5)
    assert found["corpus_id"].to_pylist() == [f"d{hit['corpus_id']}" for row in hits for hit in row]


def test_bits_with_and_without_rescoring(tmp_path: Path) -> None:
    write_store(tmp_path / "corpus", CORPUS, precision="binary")
    write_store(tmp_path / "queries", QUERIES, prefix="q")
    searched(tmp_path, "out", actors="2", cpus_per_actor=1.0)
    codes = quantize_embeddings(CORPUS, "ubinary")
    hits, _ = semantic_search_faiss(QUERIES, codes, corpus_precision="ubinary", top_k=7)
    found = table_of(tmp_path / "out")
    np.testing.assert_allclose(found["score"].to_numpy(), [hit["score"] for row in hits for hit in row], rtol=1e-5)
    hits, _ = semantic_search_faiss(QUERIES, codes, corpus_precision="ubinary", top_k=7, rescore=False)
    searched(tmp_path, "plain", actors="1", rescore_multiplier=0)
    plain = table_of(tmp_path / "plain")
    assert plain["corpus_id"].to_pylist() == [f"d{hit['corpus_id']}" for row in hits for hit in row]
    assert (-plain["score"].to_numpy()).tolist() == [hit["score"] for row in hits for hit in row]


def test_what_does_not_fit_together_is_refused(stores: Path) -> None:
    write_store(stores / "short", QUERIES[:, :5], prefix="q")
    with pytest.raises(InputError, match="dimension: 5 of the queries, 16 of the corpus"):
        searched(stores, "out", queries=(str(stores / "short"),))
    write_store(stores / "other", QUERIES, prefix="q", model="b")
    write_store(stores / "mine", CORPUS, model="a")
    with pytest.raises(InputError, match="model: 'b' of the queries, 'a' of the corpus"):
        searched(stores, "out", queries=(str(stores / "other"),), embeddings=str(stores / "mine"))
    with pytest.raises(ConfigError, match="--nprobe is for indexes"):
        searched(stores, "out", nprobe=3)
    with pytest.raises(ConfigError, match="--top-k 0 must be 1 or more"):
        searched(stores, "out", top_k=0)
    with pytest.raises(InputError, match=r"nowhere has no manifest\.json"):
        searched(stores, "out", embeddings=str(stores / "nowhere"))
    assert not (stores / "out").exists()


def test_queries_that_are_not_finite_are_named(stores: Path) -> None:
    broken = QUERIES.copy()
    broken[4, 2] = np.nan
    write_store(stores / "broken", broken, prefix="q")
    with pytest.raises(ShardError, match="the embedding of query 'q4' is not finite"):
        searched(stores, "out", queries=(str(stores / "broken"),), actors="1")


def test_a_damaged_part_of_the_corpus_is_named(stores: Path) -> None:
    part = stores / "corpus" / "data" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:300])
    with pytest.raises(ShardError, match=r"cannot read .*part-00001\.parquet"):
        searched(stores, "out", actors="1")


def test_reading_from_an_object_store(s3: str, tmp_path: Path) -> None:
    write_store(f"{s3}/search/corpus", CORPUS)
    write_store(f"{s3}/search/queries", QUERIES, prefix="q")
    config = SearchConfig(
        queries=(f"{s3}/search/queries",),
        embeddings=f"{s3}/search/corpus",
        output=f"{s3}/search/hits",
        top_k=7,
        actors="1",
    )
    search(config)
    assert rows_of(table_of(f"{s3}/search/hits")) == expected(QUERIES, CORPUS, 7)


def test_a_tree_of_merges_and_an_actor_that_is_killed(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("st_ray.runtime.search.target._LEAST_ROWS", 40)
    monkeypatch.setattr("st_ray.runtime.search.pool._FAN_IN", 2)
    store = StoredVectors.open(str(stores / "corpus"))
    target = Target(store, similarity.similarity_of("cosine"), {})
    plan = plan_actors([Node(4, 0)], shards=3, actors="3", cpus_per_actor=1.0)
    pool = start_pool(*target.shares(plan, 0, None), plan)
    assert len(pool.actors) == 3
    before = pool.search(QUERIES, 5)
    found = [(f"q{q}", r, f"d{p}") for q, row in enumerate(before[1].tolist()) for r, p in enumerate(row, start=1)]
    assert found == expected(QUERIES, CORPUS, 5)
    pid = ray.get(pool.actors[0].__ray_call__.remote(lambda holder: os.getpid()))
    os.kill(pid, signal.SIGKILL)
    after = pool.search(QUERIES, 5)
    pool.stop()
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])
