"""What the storms of `tests.ray.storm` rage over: groups of jobs, cut into many small pieces, and what they read."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.job import build_index
from st_ray.runtime.encode.job import encode
from st_ray.runtime.evaluation.config import EvaluateCrossEncoderConfig
from st_ray.runtime.evaluation.cross_encoder import evaluate_cross_encoder
from st_ray.runtime.fuse.config import FuseConfig
from st_ray.runtime.fuse.job import fuse
from st_ray.runtime.mining.bitext.config import MineBitextConfig
from st_ray.runtime.mining.bitext.job import mine_bitext
from st_ray.runtime.mining.communities.config import DetectCommunitiesConfig
from st_ray.runtime.mining.communities.job import detect_communities
from st_ray.runtime.mining.negatives.config import MineHardNegativesConfig
from st_ray.runtime.mining.negatives.job import mine_hard_negatives
from st_ray.runtime.mining.paraphrases.config import MineParaphrasesConfig
from st_ray.runtime.mining.paraphrases.job import mine_paraphrases
from st_ray.runtime.rerank.config import RerankConfig
from st_ray.runtime.rerank.job import rerank
from st_ray.runtime.score_pairs.config import ScorePairsConfig
from st_ray.runtime.score_pairs.job import score_pairs
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.job import search
from tests.rankings import Rankings, write_hits
from tests.ray.corpora import config_for, texts_of, write_jsonl
from tests.stores import vectors, write_store
from tests.stubs import StubLoader, StubScorerLoader

Jobs = Iterator[tuple[str, Callable[[], Any]]]
SHARDS, SHARD_ROWS = 300, 4
_POOL: dict[str, Any] = {"actors": "2", "cpus_per_actor": 1.0}
_QUERIES = 60
_SMALL = {
    "st_ray.runtime.evaluation.crew._ALONE": 0,
    "st_ray.runtime.fuse.job.BUCKET_HITS": 40,
    "st_ray.runtime.mining.communities.count._LEAST_GROUP": 200,
    "st_ray.runtime.mining.communities.holders._LEAST_ROWS": 700,
    "st_ray.runtime.mining.communities.job.NOTE_SECONDS": 0.0,
    "st_ray.runtime.mining.paraphrases.blocks._LEAST_ROWS": 200,
    "st_ray.runtime.mining.paraphrases.blocks._MOST_ROWS": 200,
    "st_ray.runtime.mining.paraphrases.stages.PART_PAIRS": 100,
    "st_ray.runtime.search.target._LEAST_ROWS": 60,
}


@contextmanager
def small_pieces() -> Iterator[None]:
    """Jobs cut their work into so many pieces as that of a cluster has; it is the driver that cuts."""
    with ExitStack() as stack:
        for name, value in _SMALL.items():
            stack.enter_context(mock.patch(name, value))
        yield


def write_inputs(folder: Path) -> None:
    """What all groups read."""
    chance = random.Random(0)
    texts = texts_of(SHARDS * SHARD_ROWS)
    write_jsonl(folder / "corpus.jsonl", texts)
    write_jsonl(folder / "queries.jsonl", [f"what of number {number}" for number in range(_QUERIES)])
    rows = [
        {"anchor": f"what of {chance.randrange(90)}", "positive": chance.choice(texts[:150]), "label": number % 2}
        for number in range(300)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "texts.txt").write_text("\n".join(texts[:250]))
    for name in ("dense", "lexical"):
        hits: Rankings = {}
        for number in range(_QUERIES):
            documents = chance.sample(range(len(texts)), 8)
            hits[f"id-{number}"] = [(f"id-{one}", 9.0 - rank) for rank, one in enumerate(documents)]
        write_hits(folder / name, hits, cuts=range(3, _QUERIES, 3))
    write_store(folder / "store", vectors(2000), parts=20)
    write_store(folder / "german", vectors(300), parts=4, prefix="s")
    write_store(folder / "english", vectors(330, seed=1), parts=4, prefix="t")


def retrieval(inputs: str, output: str, seconds: float = 0.0) -> Jobs:
    """300 shards are embedded, an index is built of them, and searched."""
    embeddings, index = f"{output}/embeddings", f"{output}/index"
    encoding = config_for(f"{inputs}/corpus.jsonl", embeddings, shard_rows=SHARD_ROWS, **_POOL)
    yield "embeddings", lambda: encode(encoding, StubLoader(seconds=seconds))
    building = BuildIndexConfig(
        embeddings=embeddings, output=index, factory="IVF8,Flat", part_rows=100, target_recall=0.0
    )
    yield "index", lambda: build_index(building)
    searching = SearchConfig(
        queries=(embeddings,), index=index, output=f"{output}/hits", top_k=3, nprobe=8, shard_rows=50, **_POOL
    )
    yield "hits", lambda: search(searching)


def mining(inputs: str, output: str, seconds: float = 0.0) -> Jobs:
    """Paraphrases, communities, pairs of two languages, and hard negatives."""
    store = f"{inputs}/store"
    paraphrases = MineParaphrasesConfig(
        embeddings=store, output=f"{output}/paraphrases", top_k=6, max_pairs=2000, **_POOL
    )
    yield "paraphrases", lambda: mine_paraphrases(paraphrases)
    communities = DetectCommunitiesConfig(
        embeddings=store, output=f"{output}/communities", threshold=0.6, min_community_size=5, **_POOL
    )
    yield "communities", lambda: detect_communities(communities)
    bitext = MineBitextConfig(
        source=f"{inputs}/german", target=f"{inputs}/english", output=f"{output}/bitext", shard_rows=10, **_POOL
    )
    yield "bitext", lambda: mine_bitext(bitext)
    negatives = MineHardNegativesConfig(
        pairs=(f"{inputs}/pairs.jsonl",),
        anchor_column="anchor",
        positive_column="positive",
        corpus=(f"{inputs}/texts.txt",),
        model="stub",
        cross_encoder="stub",
        output=f"{output}/negatives",
        work=f"{output}/work",
        range_max=12,
        relative_margin=0.05,
        shard_rows=20,
        **_POOL,
    )
    stubs = StubLoader(seconds=seconds), StubScorerLoader(seconds=seconds)
    yield "negatives", lambda: mine_hard_negatives(negatives, *stubs)


def pairs(inputs: str, output: str, seconds: float = 0.0) -> Jobs:
    """Hits of two searches are fused and rescored; pairs are scored, for training and to measure with."""
    scorer = StubScorerLoader(seconds=seconds)
    fusing = FuseConfig(hits=(f"{inputs}/dense", f"{inputs}/lexical"), output=f"{output}/fused", **_POOL)
    yield "fused", lambda: fuse(fusing)
    reranking = RerankConfig(
        hits=f"{output}/fused",
        queries=(f"{inputs}/queries.jsonl",),
        corpus=(f"{inputs}/corpus.jsonl",),
        id_column="id",
        corpus_id_column="id",
        cross_encoder="stub",
        output=f"{output}/reranked",
        shard_pairs=15,
        **_POOL,
    )
    yield "reranked", lambda: rerank(reranking, scorer)
    columns: dict[str, Any] = {"data": (f"{inputs}/pairs.jsonl",), "text_columns": ("anchor", "positive")}
    scoring = ScorePairsConfig(**columns, cross_encoder="stub", output=f"{output}/scored", shard_rows=5, **_POOL)
    yield "scored", lambda: score_pairs(scoring, scorer)
    evaluating = EvaluateCrossEncoderConfig(
        **columns,
        evaluator="binary-classification",
        cross_encoder="stub",
        output=f"{output}/evaluated",
        shard_rows=5,
        bootstrap=20,
        **_POOL,
    )
    yield "evaluated", lambda: evaluate_cross_encoder(evaluating, scorer)


GROUPS: dict[str, Callable[..., Jobs]] = {"retrieval": retrieval, "mining": mining, "pairs": pairs}


def result_of(folder: Path) -> dict[str, bytes]:
    """What a finished output gives its reader, by path: parts, and the figures of an evaluation."""
    assert (folder / "manifest.json").exists()
    found = {path for pattern in ("data/part-*", "scores/data/part-*", "*.csv") for path in folder.glob(pattern)}
    assert found
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
