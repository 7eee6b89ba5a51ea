"""The job that mines hard negatives without Ray and models: what its steps call is as plain as can be."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from st_ray.runtime.cross_encoding.model import injected_scorer
from st_ray.runtime.mining.negatives import candidates, chain, distinct, job, rescoring, steps, texts, work
from st_ray.runtime.resources import Node
from st_ray.runtime.result import JobResult
from st_ray.runtime.texts_by_id import staged
from st_ray.scoring.similarity import similarity_of
from st_ray.scoring.vectors import StoredVectors
from st_ray.search.exact import ExactSearcher
from st_ray.store import embeddings, hits
from st_ray.store.manifest import Manifest, read_manifest
from st_ray.store.output import OutputFolder, Part, Writer, part_name
from tests.inline_ray import InlineRay, NoMeter, run_inline


@dataclass
class Models:
    """What stands for the models.

    Attributes:
        embed: texts and a side, `corpus` or `queries` -> float32 `[n, d]`.
        score: a query and a document -> a score.
        similarity: the name that the bi-encoder gives.
        done: names of what was done, in order.
        scored: pairs that the cross-encoder has seen.
    """

    embed: Callable[[list[str], str], np.ndarray]
    score: Callable[[str, str], float] = lambda query, document: 0.0
    similarity: str = "dot"
    done: list[str] = field(default_factory=list)
    scored: list[tuple[str, str]] = field(default_factory=list)

    def encode(self, config: Any, *_: Any) -> JobResult:
        def parts() -> Iterator[Part]:
            table = texts_in(config.input[0])
            for first in range(0, len(table), config.shard_rows):
                rows = table.slice(first, config.shard_rows)
                found = rows["text"].to_pylist()
                meta = pa.table(
                    {
                        "id": rows["id"],
                        "row": pa.array(np.arange(first, first + len(rows))),
                        "text_digest": embeddings.text_digests(found),
                    }
                )
                vectors = self.embed(found, side)
                yield Part(embeddings.part_bytes(meta, vectors), len(rows), first)

        side = Path(config.output).name
        about: dict[str, Any] = {
            "dimension": self.embed([], side).shape[1],
            "similarity": self.similarity,
            "model": "plain",
        }
        lineage = {"normalize": config.normalize, "model": config.model}
        return self._finished(config.output, embeddings.KIND, parts, lineage, about)

    def search(self, config: Any, session: Any) -> JobResult:
        queries, corpus = StoredVectors.open(config.queries[0]), StoredVectors.open(config.embeddings)

        def parts() -> Iterator[Part]:
            searcher = ExactSearcher(corpus, 0, corpus.rows, similarity_of(self.similarity))
            ids = corpus.ids(0, corpus.rows)
            for first in range(0, queries.rows, config.shard_rows):
                last = min(first + config.shard_rows, queries.rows)
                asked = np.concatenate([rows for _, rows in queries.blocks(first, last)])
                found, places = searcher.search(asked, config.top_k)
                counts = np.full(last - first, places.shape[1])
                table = hits.hits_table(queries.ids(first, last), counts, ids.take(places.ravel()), found.ravel())
                yield Part(hits.hits_bytes(table, "parquet"), len(table), first)

        lineage = {"similarity": self.similarity, "top_k": config.top_k}
        return self._finished(config.output, hits.KIND, parts, lineage, {})

    def rerank(self, config: Any, scorer: Any, session: Any) -> JobResult:
        def parts() -> Iterator[Part]:
            sides = [texts_in(folder[0]) for folder in (config.queries, config.corpus)]
            query_of, text_of = (
                dict(zip(*side.select(["id", "text"]).to_pydict().values(), strict=True)) for side in sides
            )
            found = [hits.read_hits(config.hits, entry) for entry in read_manifest(config.hits).entries]
            rows = pa.concat_tables(found).to_pylist()
            for query, group in itertools.groupby(rows, lambda row: row["query_id"]):
                pairs = [(query_of[query], text_of[row["corpus_id"]], row["corpus_id"]) for row in group]
                self.scored += [pair[:2] for pair in pairs]
                ranked = sorted(((self.score(*pair[:2]), pair[2]) for pair in pairs), key=lambda pair: -pair[0])
                documents = pa.array([document for _, document in ranked], pa.int64())
                table = hits.hits_table(
                    pa.array([query]), [len(ranked)], documents, np.float32([score for score, _ in ranked])
                )
                yield Part(hits.hits_bytes(table, "parquet"), len(table), 0)

        about = {"cross_encoder": "plain", "scores": "plain"}
        asked = [entry.digest for entry in read_manifest(config.hits).entries]
        lineage = {"hits": asked, **injected_scorer(config, scorer).settings, "backend": "own", "dtype": "float32"}
        return self._finished(config.output, hits.KIND, parts, lineage, about)

    def _finished(
        self, folder: str, kind: str, parts: Callable[[], Iterator[Part]], lineage: Any, about: dict[str, Any]
    ) -> JobResult:
        output = OutputFolder(folder, kind)
        output.check_lineage(lineage)
        manifest = output.manifest()
        if manifest is None:
            self.done.append(Path(folder).name)
            writer, made = output.begin(lineage), list(parts())
            entries = [writer.commit(part_name(number, len(made)), part) for number, part in enumerate(made)]
            manifest = Manifest(kind, lineage, tuple(entries), about)
            output.finish(manifest)
        return JobResult(manifest, folder)


def texts_in(folder: str) -> pa.Table:
    """All rows of the parts in a folder."""
    return pa.concat_tables(pq.read_table(path) for path in sorted(Path(folder).iterdir()))


@dataclass(frozen=True)
class Sizes:
    """Cuts that must not show in the result."""

    bucket_rows: int = 4_000_000
    queries_of_a_shard: int = 10_000
    positives_at_once: int = 1 << 16


@contextmanager
def inline_mining(models: Models, sizes: Sizes = Sizes(), *, pages: bool = True) -> Iterator[InlineRay]:
    """The job in this process; most of its time goes into the pictures of `pages`."""
    inline = InlineRay()
    machines: dict[str, Any] = {"cluster_nodes": lambda: [Node(2, 0)], "cluster_can_grow": lambda: False}
    replaced: dict[Any, dict[str, Any]] = {
        chain: {
            "encode": models.encode,
            "search": models.search,
            "_QUERIES_OF_A_SHARD": sizes.queries_of_a_shard,
        },
        rescoring: {"rerank": models.rerank},
        work: {"job_session": lambda *_, **__: nullcontext(), "data_context": lambda *_: None},
        distinct: {"BUCKET_ROWS": sizes.bucket_rows},
        steps: {"run_stage": run_inline, "Meter": NoMeter, **machines},
        texts: {"run_stage": run_inline, "Meter": NoMeter},
        candidates: {"_PAIRS": sizes.positives_at_once},
        job: {"run_stage": run_inline, "Meter": NoMeter, **({} if pages else {"negatives_page": lambda *_: b""})},
        staged: {"run_stage": run_inline, "Meter": NoMeter, **machines},
    }
    names = ["st_ray.runtime.shuffle.ray", "st_ray.runtime.pipeline.ray"]
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch(name, inline))
        stack.enter_context(mock.patch("st_ray.store.fs.os.fsync", lambda descriptor: None))
        for module, values in replaced.items():
            stack.enter_context(mock.patch.multiple(module, **values))
        yield inline


@contextmanager
def commits(most: int | None = None) -> Iterator[list[tuple[str, str]]]:
    """Folder and name of each part that is published; before one more than `most` is, the driver dies."""
    made: list[tuple[str, str]] = []
    real = Writer.commit

    def commit(writer: Writer, name: str, part: Part) -> Any:
        if len(made) == most:
            raise KeyboardInterrupt
        made.append((writer.folder, name))
        return real(writer, name, part)

    with mock.patch.object(Writer, "commit", commit):
        yield made
