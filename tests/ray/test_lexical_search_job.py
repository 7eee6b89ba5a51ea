"""Search by words on a real Ray: any parts and actors, resumed, refused, and as bm25s itself on Cranfield."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest

from st_ray.core.errors import ConfigError, InputError, OutputError
from st_ray.runtime.config import Names
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.job import search
from st_ray.runtime.search.pool import consecutive
from st_ray.runtime.search.summary import search_summary
from st_ray.scoring.topk import PADDING
from st_ray.search.lexical import Bm25, LexicalSearcher, Words, statistics_of
from st_ray.store.manifest import read_manifest
from tests.conftest import DATA
from tests.ray.corpora import write_jsonl
from tests.ray.test_search_job import rows_of, table_of
from tests.stores import vectors, write_store

RNG = np.random.default_rng(5)
WORDS = np.array([f"word{number}" for number in range(60)])
TEXTS = [" ".join(RNG.choice(WORDS, RNG.integers(0, 30), p=np.arange(60, 0, -1) / 1830)) for _ in range(50)]
QUERIES = [*(" ".join(RNG.choice(WORDS, 5)) for _ in range(9)), "of the", "unheard"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "corpus.jsonl", TEXTS)
    write_jsonl(tmp_path / "queries.jsonl", QUERIES)
    return tmp_path


def config(folder: Path, name: str = "out", **changes: Any) -> SearchConfig:
    settings = {
        "bm25": (str(folder / "corpus.jsonl"),),
        "queries": (str(folder / "queries.jsonl"),),
        "output": str(folder / name),
        "corpus_id_column": "id",
        "id_column": "id",
        "top_k": 6,
        "actors": "1",
        "cpus_per_actor": 1.0,
    }
    return SearchConfig(**{**settings, **changes})


def in_memory(method: str = "lucene") -> tuple[list[tuple[str, int, str]], list[np.float32]]:
    words = Words()
    pieces = [words.count(TEXTS)]
    scores, positions = LexicalSearcher(pieces, statistics_of(pieces), Bm25(method)).search(words.of(QUERIES), 6)
    hits = [
        (f"id-{query}", rank, f"id-{position}")
        for query, row in enumerate(positions.tolist())
        for rank, position in enumerate(row, start=1)
        if position != PADDING
    ]
    return hits, scores[positions != PADDING].tolist()


def part_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.parquet")}


@pytest.mark.usefixtures("local_ray")
def test_parts_and_actors_change_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("st_ray.runtime.search.terms._FAN_IN", 2)
    one = search(config(folder, "one"))
    monkeypatch.setattr("st_ray.runtime.corpus.IN_PROCESS_BYTES", 0)
    many = search(config(folder, "many", actors="3", bm25_shard_rows=7, shard_rows=4))
    assert [len(read_manifest(str(folder / name / "terms")).entries) for name in ("one", "many")] == [1, 8]
    assert [result.manifest.run["actors"] for result in (one, many)] == [1, 3]
    assert [len(result.manifest.entries) for result in (one, many)] == [1, 3]
    hits, scores = in_memory()
    for name in ("one", "many"):
        table = table_of(folder / name)
        assert rows_of(table) == hits
        assert table["score"].to_pylist() == scores
    assert many.manifest.about["queries_without_hits"] == 2
    shown = search_summary(many)
    for line in ("11 against 50 rows", "without hits  2 queries", "BM25 (lucene, k1 1.5, b 0.75)"):
        assert line in shown


@pytest.mark.usefixtures("local_ray")
def test_it_goes_on_where_it_was_cut_short_and_refuses_other_settings(folder: Path) -> None:
    asked = config(folder, bm25_method="bm25+", bm25_shard_rows=11, shard_rows=4)
    search(asked)
    assert rows_of(table_of(folder / "out")) == in_memory("bm25+")[0]
    whole = part_bytes(folder / "out")
    for gone in (
        "manifest.json",
        "data/part-00001.parquet",
        "terms/manifest.json",
        "terms/statistics.parquet",
        "terms/commits/part-00003.json",
        "terms/data/part-00000.parquet",
    ):
        (folder / "out" / gone).unlink()
    result = search(asked)
    assert result.manifest.run["shards_done_before"] == 2
    assert read_manifest(str(folder / "out" / "terms")).run["shards_done_before"] == 3
    assert part_bytes(folder / "out") == whole
    assert search(asked).already_complete
    for changes, message in (
        ({"bm25_k1": 1.2}, "k1: 1.5 before, 1.2 now"),
        ({"bm25_stopwords": "none"}, "stopwords: 'english' before, 'none' now"),
    ):
        with pytest.raises(OutputError, match=message):
            search(config(folder, bm25_method="bm25+", bm25_shard_rows=11, shard_rows=4, **changes))
    write_jsonl(folder / "corpus.jsonl", [*TEXTS[:-1], "another"])
    with pytest.raises(OutputError, match="input: "):
        search(asked)


@pytest.mark.usefixtures("local_ray")
def test_integer_ids_bad_rows_and_no_hits_at_all(folder: Path) -> None:
    rows = [{"number": 70, "words": "wing"}, {"number": 71, "words": None}, {"number": 72, "words": ""}]
    (folder / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    few: dict[str, Any] = {
        "bm25": (str(folder / "few.jsonl"),),
        "corpus_id_column": "number",
        "corpus_text_columns": Names(("words",)),
        "on_bad_row": "skip",
        "shard_rows": 1,
    }
    (folder / "asked.txt").write_text("drag\nwing wing\n")
    result = search(config(folder, queries=(str(folder / "asked.txt"),), id_column=None, **few))
    assert table_of(folder / "out").select(["query_id", "rank", "corpus_id"]).to_pylist() == [
        {"query_id": 1, "rank": 1, "corpus_id": 70}
    ]
    assert "1 rows left out" in search_summary(result)
    (folder / "out" / "manifest.json").unlink()
    (folder / "out" / "terms" / "data" / "part-00000.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"terms/data/part-00000\.parquet: cannot be read"):
        search(config(folder, queries=(str(folder / "asked.txt"),), id_column=None, **few))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rescore_multiplier": 2}, "--rescore-multiplier: --bm25 searches by words"),
        ({"similarity": "dot"}, "--similarity: --bm25"),
        ({"model": "m"}, "--model: --bm25"),
        ({"prompt": ""}, "--prompt: --bm25"),
        ({"nprobe": 1}, "--nprobe: --bm25"),
        ({"embeddings": "e"}, "--embeddings: --bm25 names the corpus too"),
        ({"bm25": ()}, "none of --index, --embeddings and --bm25"),
        ({"bm25": (), "embeddings": "e", "bm25_k1": 2.0}, "--bm25-k1: it is for --bm25"),
        ({"bm25": (), "embeddings": "e", "corpus_id_column": "id"}, "--corpus-id-column: it is for --bm25"),
        ({"bm25_k1": 0.0}, "--bm25-k1 0 must be above 0"),
        ({"bm25_b": 1.5}, "--bm25-b 1.5 must be between 0 and 1"),
    ],
)
def test_flags_that_do_not_fit_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **{"corpus_id_column": None, **changes})


def test_mistakes_show_before_any_work(folder: Path) -> None:
    write_store(folder / "store", vectors(5))
    for flag in ("queries", "bm25"):
        with pytest.raises(InputError, match=rf"--{flag} .*store is the output of a job, not texts"):
            search(config(folder, **{flag: (str(folder / "store"),)}))
    write_jsonl(folder / "blank.jsonl", ["wing", " \t"])
    with pytest.raises(InputError, match=r"query 'id-1' \(row 2\) is empty"):
        search(config(folder, queries=(str(folder / "blank.jsonl"),)))
    with pytest.raises(InputError, match="no such file"):
        search(config(folder, bm25=(str(folder / "nowhere.jsonl"),)))
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("sizes", "count", "cuts"),
    [([5, 5, 5, 5], 2, [0, 2, 4]), ([90, 1, 1, 1], 3, [0, 1, 2, 4]), ([1, 1, 90], 2, [0, 2, 3]), ([3], 1, [0, 1])],
)
def test_parts_are_shared_by_size(sizes: list[int], count: int, cuts: list[int]) -> None:
    assert consecutive(sizes, count) == cuts


@pytest.mark.usefixtures("local_ray")
@pytest.mark.skipif(not (DATA / "cranfield").exists(), reason="the Cranfield collection is not at hand")
def test_cranfield_is_searched_as_bm25s_does(tmp_path: Path) -> None:
    source = DATA / "cranfield"
    asked = str(source / "queries.jsonl")
    search(
        SearchConfig(
            bm25=(str(source),),
            queries=(asked,),
            id_column="_id",
            output=str(tmp_path / "hits"),
            top_k=100,
            bm25_shard_rows=350,
            shard_rows=90,
        )
    )
    documents, queries = ([json.loads(line) for line in (source / name).open()] for name in ("corpus.jsonl", asked))
    peer = bm25s.BM25()
    texts = [f"{document['title']} {document['text']}" for document in documents]
    peer.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
    table = table_of(tmp_path / "hits").to_pandas()
    found = dict(iter(table.groupby("query_id")))
    assert len(found) == len(queries)
    for query, words in zip(
        queries,
        bm25s.tokenize([query["text"] for query in queries], return_ids=False, show_progress=False),
        strict=True,
    ):
        scores = peer.get_scores(words)
        best = np.lexsort((np.arange(len(scores)), -scores))[:100]
        best = best[scores[best] > 0]
        hits = found[query["_id"]]
        assert hits["corpus_id"].tolist() == [documents[place]["_id"] for place in best]
        np.testing.assert_array_equal(hits["score"].to_numpy(), scores[best])
