"""The rerank job on a real Ray: scores in their places whatever the shards, resumed, refused, with real models."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from st_ray import CrossEncoder
from st_ray.core.errors import ConfigError, InputError, OutputError, ShardError
from st_ray.models.source import resolve_model
from st_ray.runtime.rerank.config import RerankConfig
from st_ray.runtime.rerank.job import rerank
from st_ray.runtime.rerank.summary import rerank_summary
from st_ray.runtime.result import JobResult
from st_ray.store.hits import read_hits
from st_ray.store.manifest import read_manifest
from tests.models.tiny_models import save_tiny_classifier
from tests.rankings import Rankings, rankings_of, write_hits
from tests.ray.corpora import counted_scores, histogram_text, part_bytes_of, table_of
from tests.stubs import StubScorerLoader, stub_score

pytestmark = pytest.mark.usefixtures("local_ray")

QUERIES = {f"q{number}": f"what of number {number}" for number in range(12)}
CORPUS = {f"d{number}": f"text number {number} " + "word " * (number % 7) for number in range(71)}
HITS: Rankings = {
    query: [(f"d{(7 * n + 3 * rank) % 71}", 9.0 - rank / 8) for rank in range(1 + 2 * n)]
    for n, query in enumerate(QUERIES)
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, texts in (("queries", QUERIES), ("corpus", CORPUS)):
        rows = (json.dumps({"id": key, "text": text}) + "\n" for key, text in texts.items())
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    write_hits(tmp_path / "hits", HITS, cuts=(5, 8))
    return tmp_path


def config_of(folder: Path, name: str = "out", **changes: Any) -> RerankConfig:
    settings: dict[str, Any] = {
        "hits": str(folder / "hits"),
        "queries": (str(folder / "queries.jsonl"),),
        "corpus": (str(folder / "corpus.jsonl"),),
        "cross_encoder": "stub",
        "output": str(folder / name),
        "id_column": "id",
        "corpus_id_column": "id",
        "actors": "1",
        "cpus_per_actor": 1.0,
        "shard_pairs": 20,
    }
    return RerankConfig(**{**settings, **changes})


def reranked(
    folder: Path, name: str = "out", loader: StubScorerLoader | None = None, **changes: Any
) -> tuple[JobResult, Rankings]:
    result = rerank(config_of(folder, name, **changes), loader or StubScorerLoader())
    return result, rankings_of(table_of(result.folder))


def expected(hits: Rankings = HITS, prompt: str = "", top_k: int | None = None) -> Rankings:
    """Equal scores in the order of the retrieval."""
    found: Rankings = {}
    for query, ranking in hits.items():
        scored = [(document, stub_score(QUERIES[query], CORPUS[document], prompt)) for document, _ in ranking]
        found[query] = sorted(scored, key=lambda hit: -hit[1])[:top_k]
    return found


def test_shards_and_actors_change_nothing(folder: Path) -> None:
    result, found = reranked(folder)
    assert found == expected()
    assert len(result.manifest.entries) > 5
    assert not (folder / "out" / "staging").exists()
    assert "144 of 12 queries" in rerank_summary(result)
    whole, same = reranked(folder, "whole", shard_pairs=1000, actors="2")
    assert same == found and len(whole.manifest.entries) == 1
    # What a second run finds, it leaves alone; other settings are refused.
    assert rerank(config_of(folder), StubScorerLoader()).already_complete
    with pytest.raises(OutputError, match="top_k: None before, 3 now"):
        reranked(folder, top_k=3)
    best, top = reranked(folder, overwrite=True, top_k=3, prompt="find: ")
    assert top == expected(prompt="find: ", top_k=3)
    assert best.manifest.rows == sum(min(3, len(ranking)) for ranking in HITS.values())
    # Those of all pairs are shown, not of those alone that were kept.
    scores = [[score for _, score in ranking] for ranking in expected(prompt="find: ").values()]
    assert counted_scores(folder / "out") == {
        "all pairs": histogram_text(np.concatenate(scores)),
        "the best hit of each query": histogram_text([max(ranking) for ranking in scores]),
    }
    assert "<p>How many of 144 have" in (folder / "out" / "report.html").read_text()


def test_formats_and_retrieval_scores(folder: Path) -> None:
    reranked(folder, "kept", keep_retrieval_score=True)
    table = table_of(folder / "kept").to_pylist()
    before = {(query, document): score for query, ranking in HITS.items() for document, score in ranking}
    assert {(row["query_id"], row["corpus_id"]): row["retrieval_score"] for row in table} == before
    result = rerank(config_of(folder, "lines", keep_retrieval_score=True, format="jsonl"), StubScorerLoader())
    lines = [
        json.loads(line)
        for entry in result.manifest.entries
        for line in (folder / "lines" / "data" / entry.name).read_text().splitlines()
    ]
    assert lines == table
    run = rerank(config_of(folder, "run", format="trec"), StubScorerLoader())
    found: Rankings = {}
    for entry in run.manifest.entries:
        found |= rankings_of(read_hits(run.folder, entry))
    assert found == expected()


def test_without_hits_every_row_of_the_document_is_scored(folder: Path) -> None:
    (folder / "two.jsonl").write_text(
        "".join(
            json.dumps({"id": key, "text": QUERIES[key], "page": page}) + "\n"
            for key, page in zip(["q1", "q2"], "ab", strict=True)
        )
    )
    paragraphs = list(CORPUS.items())[:9]
    (folder / "pages.jsonl").write_text(
        "".join(
            json.dumps({"id": key, "text": text, "page": "ab"[number % 2]}) + "\n"
            for number, (key, text) in enumerate(paragraphs)
        )
    )
    inputs = {
        "hits": None,
        "queries": (str(folder / "two.jsonl"),),
        "corpus": (str(folder / "pages.jsonl"),),
        "text_columns": ("text",),
        "corpus_text_columns": ("text",),
    }
    _, found = reranked(folder, "all", **inputs)
    assert found == expected({query: [(key, 0.0) for key, _ in paragraphs] for query in ("q1", "q2")})
    _, found = reranked(folder, "own", document_column="page", top_k=2, **inputs)
    own = {"q1": paragraphs[::2], "q2": paragraphs[1::2]}
    assert found == expected({query: [(key, 0.0) for key, _ in rows] for query, rows in own.items()}, top_k=2)


def test_a_killed_actor_and_a_run_cut_short(folder: Path) -> None:
    (folder / "pids").mkdir()
    (folder / "hold").touch()
    loader = StubScorerLoader(pids=str(folder / "pids"), hold=str(folder / "hold"))

    def kill() -> None:
        while not list((folder / "pids").iterdir()):
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(int(next((folder / "pids").iterdir()).name), signal.SIGKILL)
        (folder / "hold").unlink()

    killer = threading.Thread(target=kill)
    killer.start()
    _, found = reranked(folder, loader=loader)
    killer.join()
    assert found == expected() and len(list((folder / "pids").iterdir())) > 1
    # As if the driver had died before its last shards: what is committed stays, staged texts are made again.
    parts = part_bytes_of(folder / "out")
    for gone in ("manifest.json", "commits/part-00002.json", "data/part-00004.parquet"):
        (folder / "out" / gone).unlink()
    again, found = reranked(folder)
    assert found == expected() and part_bytes_of(folder / "out") == parts
    assert again.manifest.run["shards_done_before"] == len(parts) - 2
    # With other texts, what is committed is of no use.
    (folder / "out" / "manifest.json").unlink()
    with (folder / "corpus.jsonl").open("a") as stream:
        stream.write(json.dumps({"id": "more", "text": "more"}) + "\n")
    with pytest.raises(OutputError, match="was begun with has changed"):
        reranked(folder)


def test_shards_that_fail_are_named(folder: Path) -> None:
    with pytest.raises(
        ShardError, match=r"(?s)the score of query 'q\d+' and document 'd21' is not finite.*pairs \d+ to"
    ):
        reranked(folder, loader=StubScorerLoader(nan=CORPUS["d21"]))
    left = part_bytes_of(folder / "out")
    _, found = reranked(folder)
    assert found == expected() and left.items() <= part_bytes_of(folder / "out").items()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"hits": "nowhere"}, InputError, "nowhere"),
        ({"corpus": ("nowhere.jsonl",)}, InputError, "nowhere"),
        ({"corpus_id_column": "number"}, InputError, r"number[\s\S]*--corpus-id-column"),
        ({"hits": "{folder}/hits.run"}, InputError, "query 'q1' has the document 'd99', which has no text"),
        ({"hits": "{folder}/twice.run"}, InputError, "query 'q1' has the document 'd7' twice"),
        ({"queries": ("{folder}/blank.jsonl",)}, InputError, "'q1'"),
        ({"hits": "{folder}/out"}, ConfigError, "--hits names the output itself"),
    ],
)
def test_mistakes_are_named_and_leave_no_output(
    folder: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    (folder / "hits.run").write_text("q1 Q0 d7 1 2.0 x\nq1 Q0 d99 2 1.0 x\n")
    (folder / "twice.run").write_text("q1 Q0 d7 1 2.0 x\nq1 Q0 d7 2 1.0 x\n")
    blank = {**QUERIES, "q1": "  "}
    (folder / "blank.jsonl").write_text("".join(json.dumps({"id": k, "text": t}) + "\n" for k, t in blank.items()))

    def filled(value: Any) -> Any:
        return tuple(map(filled, value)) if isinstance(value, tuple) else value.format(folder=folder)

    with pytest.raises(error, match=message):
        reranked(folder, **{name: filled(value) for name, value in changes.items()})
    _, found = reranked(folder)
    assert found == expected()


def test_real_models_score_as_in_memory(folder: Path, tmp_path: Path) -> None:
    model = save_tiny_classifier(tmp_path / "tiny")
    encoder = CrossEncoder(model)
    scores: dict[str, Rankings] = {}
    for backend, dtype in (("torch", "float32"), ("openvino", "bfloat16")):
        name = f"{backend}-{dtype}"
        config = config_of(folder, name, cross_encoder=str(model), backend=backend, dtype=dtype, min_correlation=0.9)
        result = rerank(config)
        scores[name] = rankings_of(table_of(result.folder))
        assert (result.manifest.lineage["backend"], result.manifest.lineage["dtype"]) == (backend, dtype)
    for query, ranking in scores["torch-float32"].items():
        documents = [document for document, _ in HITS[query]]
        hits = encoder.rank(QUERIES[query], [CORPUS[document] for document in documents])
        in_memory = {documents[hit["corpus_id"]]: hit["score"] for hit in hits}
        assert dict(ranking) == pytest.approx(in_memory, abs=1e-6)
        assert dict(scores["openvino-bfloat16"][query]) == pytest.approx(in_memory, abs=0.1)
    correlation = read_manifest(str(folder / "openvino-bfloat16")).about["min_rank_correlation_to_float32"]
    assert 0.9 < correlation <= 1


def test_the_model_must_have_one_label(folder: Path, tmp_path: Path, minilm: str) -> None:
    three = save_tiny_classifier(tmp_path / "three", labels=3)
    for model, message in ((str(three), "has 3 labels"), (str(resolve_model(minilm)), "no cross-encoder")):
        with pytest.raises(Exception, match=message):
            rerank(config_of(folder, cross_encoder=model))
    assert not (folder / "out").exists()


def test_on_an_object_store(folder: Path, s3: str) -> None:
    place = f"{s3}/rerank"
    rerank(config_of(folder, output=f"{place}/out"), StubScorerLoader())
    manifest = read_manifest(f"{place}/out")
    found: Rankings = {}
    for entry in manifest.entries:
        found |= rankings_of(read_hits(f"{place}/out", entry))
    assert found == expected()
