"""Every job on an object store: on one that fails now and then the result is the same, and nothing finished is listed.

Jobs that encode and that build an index are in `test_faulty_store`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any

import pytest

from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.job import build_index
from st_ray.runtime.config import Names
from st_ray.runtime.evaluation.config import EvaluateCrossEncoderConfig, EvaluateSimilarityConfig
from st_ray.runtime.evaluation.cross_encoder import evaluate_cross_encoder
from st_ray.runtime.evaluation.retrieval import EvaluateRetrievalConfig, evaluate_retrieval
from st_ray.runtime.evaluation.similarity import evaluate_similarity
from st_ray.runtime.export.config import ExportModelConfig
from st_ray.runtime.export.job import export_model
from st_ray.runtime.export.output import publish
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
from st_ray.runtime.training.prepare import prepare_examples
from st_ray.store import fs
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import read_manifest
from tests.faulty_store import FaultyStore, some
from tests.models.tiny_models import save_tiny_model
from tests.rankings import write_hits
from tests.ray.corpora import texts_of
from tests.runtime.test_training_examples import request_of
from tests.stores import vectors, write_store
from tests.stubs import StubLoader, StubScorerLoader

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

ONE: dict[str, Any] = {"actors": "1", "cpus_per_actor": 1.0}
PAIR: dict[str, Any] = {"text_columns": Names(("a", "b")), "bootstrap": 20, "shard_rows": 20, **ONE}
_OF_A_RUN = {"run.json", "manifest.json", "commits", "staging", "report.html", "report.json", "training", "README.md"}
"""What tells of times and places."""


@pytest.fixture(scope="module")
def place(s3: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of the store with an input of each kind, those that jobs have finished in `finished`."""
    place = f"{s3}/every-job"
    texts = texts_of(60)
    rows = [{"id": f"d{row}", "text": text} for row, text in enumerate(texts)]
    write_lines(f"{place}/corpus.jsonl", rows)
    write_lines(f"{place}/queries.jsonl", [{"id": f"q{row}", "text": f"what of {row}"} for row in range(12)])
    write_lines(
        f"{place}/pairs.jsonl",
        ({"a": f"what of {row % 9}", "b": text, "label": row % 2} for row, text in enumerate(texts)),
    )
    mined = ({"anchor": f"what of {row % 9}", "positive": text} for row, text in enumerate(texts))
    write_lines(f"{place}/mined.jsonl", mined)
    fs.write_atomic(f"{place}/corpus.txt", "\n".join(texts).encode())
    fs.write_atomic(f"{place}/qrels.tsv", "".join(f"q{row}\t0\td{row}\t1\n" for row in range(12)).encode())
    hits = {f"q{n}": [(f"d{(7 * n + rank) % 60}", 9.0 - rank) for rank in range(8)] for n in range(12)}
    write_hits(f"{place}/finished/hits", hits, cuts=(4, 8))
    write_hits(f"{place}/finished/others", {query: ranking[::-1] for query, ranking in hits.items()}, cuts=(6,))
    write_store(f"{place}/finished/store", vectors(300), parts=6)
    write_store(f"{place}/finished/queries", vectors(30, seed=1), parts=2, prefix="q")
    publish(save_tiny_model(tmp_path_factory.mktemp("every-job") / "model"), f"{place}/model")
    flags = {"factory": "IVF4,Flat", "merge": "no", "part_rows": 100, "target_recall": 0.0}
    build_index(BuildIndexConfig(embeddings=f"{place}/finished/store", output=f"{place}/finished/index", **flags))
    return place


def write_lines(url: str, rows: Iterable[dict[str, Any]]) -> None:
    fs.write_atomic(url, "".join(json.dumps(row) + "\n" for row in rows).encode())


def searched(place: str, output: str, **target: str) -> None:
    queries = (f"{place}/finished/queries",)
    search(SearchConfig(queries=queries, output=output, top_k=7, shard_rows=5, **target, **ONE))


def reranked(place: str, output: str) -> None:
    config = RerankConfig(
        hits=f"{place}/finished/hits",
        queries=(f"{place}/queries.jsonl",),
        corpus=(f"{place}/corpus.jsonl",),
        cross_encoder="stub",
        output=output,
        id_column="id",
        corpus_id_column="id",
        shard_pairs=20,
        **ONE,
    )
    rerank(config, StubScorerLoader())


def mined_negatives(place: str, output: str) -> None:
    config = MineHardNegativesConfig(
        pairs=(f"{place}/mined.jsonl",), corpus=(f"{place}/corpus.txt",), model="stub", output=output, range_max=12,
        shard_rows=20, **ONE,
    )  # fmt: skip
    mine_hard_negatives(config, StubLoader(), StubScorerLoader())


def scored(place: str, output: str) -> None:
    config = ScorePairsConfig(
        data=(f"{place}/pairs.jsonl",), cross_encoder="stub", output=output, shard_rows=10, **ONE,
        text_columns=Names(("a", "b")),
    )  # fmt: skip
    score_pairs(config, StubScorerLoader())


def evaluated(place: str, output: str) -> None:
    config = EvaluateCrossEncoderConfig(
        evaluator="binary-classification", data=(f"{place}/pairs.jsonl",), cross_encoder="stub", output=output, **PAIR
    )
    evaluate_cross_encoder(config, StubScorerLoader())


def similar(place: str, output: str) -> None:
    config = EvaluateSimilarityConfig(
        data=(f"{place}/pairs.jsonl",), model="stub", label_column="label", output=output, **PAIR
    )
    evaluate_similarity(config, StubLoader())


def bitext(place: str, output: str) -> None:
    sides = {"source": f"{place}/finished/queries", "target": f"{place}/finished/store"}
    mine_bitext(MineBitextConfig(output=output, shard_rows=40, **sides, **ONE))


def exported(place: str, output: str) -> None:
    export_model(ExportModelConfig(model=f"{place}/model", output=output, backend="onnx", for_other_cpu=True))


def examples(place: str, output: str) -> None:
    flags: dict[str, Any] = {"text_columns": ("a", "b"), "label_columns": ("label",), "shard_rows": 10}
    with OutputLock(f"{output}/lock.json") as lock:
        prepare_examples(request_of(f"{place}/pairs.jsonl", **flags), output, lock)  # type: ignore[arg-type]


JOBS: dict[str, Callable[[str, str], Any]] = {
    "search": lambda place, output: searched(place, output, embeddings=f"{place}/finished/store"),
    "search an index": lambda place, output: searched(place, output, index=f"{place}/finished/index"),
    "rerank": reranked,
    "score_pairs": scored,
    "fuse": lambda place, output: fuse(
        FuseConfig(hits=(f"{place}/finished/hits", f"{place}/finished/others"), output=output)
    ),
    "mine_paraphrases": lambda place, output: mine_paraphrases(
        MineParaphrasesConfig(embeddings=f"{place}/finished/store", output=output, **ONE)
    ),
    "mine_hard_negatives": mined_negatives,
    "detect_communities": lambda place, output: detect_communities(
        DetectCommunitiesConfig(embeddings=f"{place}/finished/store", output=output, threshold=0.6, **ONE)
    ),
    "mine_bitext": bitext,
    "evaluate_cross_encoder": evaluated,
    "evaluate_similarity": similar,
    "evaluate_retrieval": lambda place, output: evaluate_retrieval(
        EvaluateRetrievalConfig(hits=f"{place}/finished/hits", qrels=f"{place}/qrels.tsv", output=output)
    ),
    "export_model": exported,
    "examples to train on": examples,
}


def written(output: str) -> dict[str, bytes]:
    """All that a job has left which does not tell of its run."""
    filesystem, root = fs.open_fs(output)
    paths = {str(PurePosixPath(path).relative_to(root)): path for path in filesystem.find(root)}
    return {
        name: filesystem.cat_file(path)
        for name, path in paths.items()
        if _OF_A_RUN.isdisjoint(PurePosixPath(name).parts)
    }


@pytest.mark.parametrize("job", JOBS)
def test_a_job(job: str, place: str, store_server: FaultyStore) -> None:
    outputs = [f"{place}/{times}/{job.replace(' ', '-')}" for times in ("undisturbed", "disturbed")]
    before = len(store_server.listed)
    JOBS[job](place, outputs[0])
    listed = store_server.listed[before:]
    assert [prefix for prefix in listed if "/finished/" in prefix] == []
    with store_server.failing(some(0.05, seed=len(job))) as met:
        JOBS[job](place, outputs[1])
    assert sum(met.values()) >= 1
    expected, found = map(written, outputs)
    assert len(expected) >= 1
    assert found == expected
    if job != "examples to train on":
        assert read_manifest(outputs[1]).rows == read_manifest(outputs[0]).rows
