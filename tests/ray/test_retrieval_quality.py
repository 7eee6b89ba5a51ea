"""From texts to figures: the Cranfield collection with the real model, encoded, searched and judged by the jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from st_ray.runtime.config import Names
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.job import encode
from st_ray.runtime.evaluation.retrieval import EvaluateRetrievalConfig, evaluate_retrieval
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.job import search
from tests.conftest import DATA

REFERENCE = {
    "ndcg@10": 0.399814,
    "mrr@10": 0.538039,
    "recall@100": 0.772442,
    "map@100": 0.320852,
    "ndcg@100": 0.523000,
    "recall@10": 0.416393,
}
"""By Sentence Transformers 6.2.0's InformationRetrievalEvaluator."""


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.skipif(not (DATA / "cranfield").exists(), reason="the Cranfield collection is not at hand")
def test_the_figures_are_those_of_the_peer(minilm: str, tmp_path: Path) -> None:
    source, store, hits = DATA / "cranfield", str(tmp_path / "embeddings"), str(tmp_path / "hits")
    titled = Names(("title", "text"))
    encode(
        EncodeConfig(
            input=(str(source / "corpus.jsonl"),),
            model=minilm,
            output=store,
            id_column="_id",
            text_columns=titled,
            dtype="float32",
            shard_rows=350,
        )
    )
    queries = (str(source / "queries.jsonl"),)
    search(
        SearchConfig(
            queries=queries,
            id_column="_id",
            text_columns=Names(("text",)),
            embeddings=store,
            output=hits,
            top_k=100,
            dtype="float32",
            format="trec",
        )
    )
    config = EvaluateRetrievalConfig(
        hits=hits, qrels=str(source), output=str(tmp_path / "metrics"), metrics=Names(REFERENCE)
    )
    figures = evaluate_retrieval(config).manifest.about["metrics"]
    assert figures == pytest.approx(REFERENCE, abs=1e-4)
