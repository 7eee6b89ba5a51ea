"""The retrieval evaluation job: hits against judgements, part by part in this process. It needs no Ray."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from st_ray.core.errors import InputError
from st_ray.core.summary import human_seconds, job_summary
from st_ray.evaluation.qrels import Qrels, read_qrels
from st_ray.evaluation.retrieval import RetrievalMetric, RetrievalScores, merge_scores, parse_metrics, score_hits
from st_ray.evaluation.retrieval_page import metric_sections
from st_ray.runtime.clock import Laps
from st_ray.runtime.config import LogConfig, Names
from st_ray.runtime.log import current_log
from st_ray.runtime.progress import LOG_EVERY_SECONDS
from st_ray.runtime.report.page import PAGE, write_report
from st_ray.runtime.result import JobResult
from st_ray.runtime.session import raise_if_stopped
from st_ray.store import fs
from st_ray.store.embeddings import parquet_bytes
from st_ray.store.hit_sets import HitSet, open_hit_set
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import Manifest, ShardEntry
from st_ray.store.output import OutputFolder, Part, Writer, part_name
from st_ray.store.readers.files import reading

KIND = "retrieval metrics"
DEFAULT_METRICS = Names(("ndcg@10", "mrr@10", "map@100", "recall@100"))


@dataclass(frozen=True, kw_only=True)
class EvaluateRetrievalConfig(LogConfig):
    """Measure search results against relevance judgements."""

    hits: str
    """Folder that a job wrote hits to, or one file of hits by any tool: a TREC run (any name), or Parquet or JSON
    lines with the columns query_id, corpus_id, rank, score. A file's hits are ranked by their ranks; by score where
    there are none, or a query has one twice."""

    qrels: str
    """Judgements: BEIR's TSV, TREC's qrels, JSON lines or Parquet (query_id, corpus_id, score), or a BEIR folder, of
    which the split `test` is read. Text may be .gz or .zst."""

    output: str
    """Folder for the result: a local path or any fsspec URL such as s3://bucket/folder. A run that was cut short
    goes on where it stopped; a finished one is left as it is."""

    metrics: Names = DEFAULT_METRICS
    """Figures to compute: ndcg, mrr, map, recall, precision or hit (also called success), each with @K."""

    overwrite: bool = False
    """Remove what an earlier run of this job left in --output and start again."""

    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a metric that is none."""
        parse_metrics(self.metrics)


def evaluate_retrieval(config: EvaluateRetrievalConfig) -> JobResult:
    """Run the job to its end.

    The output has a part for each part of the hits, with its judged queries and their metrics, and a last one for the
    judged queries without hits, where there are any: the mean of a column is the figure in the manifest.

    Raises:
        StRayError: bad hits, judgements or output.
    """
    laps = Laps()
    metrics = parse_metrics(config.metrics)
    output = OutputFolder(config.output, KIND, beside=(PAGE,))
    output.check_usable()
    source = open_hit_set(config.hits)
    qrels = read_qrels(config.qrels)
    laps.end("judgements")
    lineage = {"hits": source.digest, "qrels": qrels.digest, "metrics": [metric.name for metric in metrics]}
    finished = None if config.overwrite else output.manifest()
    if finished is not None:
        output.check_lineage(lineage)
        return JobResult(finished, output.folder, already_complete=True)
    with output.lock() as lock:
        if config.overwrite:
            output.clear()
        entries, scores = _Run(source, qrels, metrics, output, output.begin(lineage), lock).evaluate()
        laps.end("metrics")
        seconds = round(sum(laps.seconds.values()), 3)
        manifest = Manifest(KIND, lineage, tuple(entries), _about(qrels, scores), {"seconds": seconds})
        done = JobResult(manifest, output.folder)
        own = metric_sections(scores, qrels)
        write_report(config, done, evaluate_retrieval_facts(done), laps.seconds, own=own)
        output.finish(manifest)
    return done


@dataclass(frozen=True)
class _Run:
    """What is settled before the first part."""

    source: HitSet
    qrels: Qrels
    metrics: tuple[RetrievalMetric, ...]
    output: OutputFolder
    writer: Writer
    lock: OutputLock

    def evaluate(self) -> tuple[list[ShardEntry], RetrievalScores]:
        """All parts, those that were missing done and committed, and their scores together."""
        committed = self.output.committed(self.writer)
        ticker = _Ticker(len(self.source.parts))
        entries: list[ShardEntry] = []
        parts: list[RetrievalScores] = []
        hits = 0
        for number in range(len(self.source.parts)):
            raise_if_stopped()
            name = self._part_name(number)
            if name in committed:
                scores, entry = self._read_back(committed[name]), committed[name]
            else:
                scores = self._score(number)
                entry = self._commit(name, scores, hits)
            hits += scores.hits
            entries.append(entry)
            parts.append(scores)
            ticker.tick(number + 1, hits)
        self._check_useful(parts)
        merged = merge_scores(parts)
        absent = merged.without_hits(self.qrels)
        if len(absent):
            zeros = RetrievalScores(merged.names, absent, np.zeros((len(absent), len(merged.names))), 0, 0)
            entries.append(self._commit(self._part_name(len(self.source.parts)), zeros, hits))
        return entries, merged

    def _part_name(self, number: int) -> str:
        return part_name(number, len(self.source.parts) + 1)

    def _score(self, number: int) -> RetrievalScores:
        hits = self.source.parts[number].read()
        try:
            return score_hits(hits, self.qrels, self.metrics)
        except InputError as error:
            raise InputError(f"{self.source.parts[number].place}: {error.message}", error.remedy) from error

    def _commit(self, name: str, scores: RetrievalScores, first_hit: int) -> ShardEntry:
        self.lock.require_held(self.output.folder)
        columns = dict(zip(scores.names, scores.values.T, strict=True))
        data = parquet_bytes(pa.table({"query_id": scores.query_ids, **columns}))
        figures = {"hits": scores.hits, "queries": scores.queries}
        return self.writer.commit(name, Part(data, len(scores.query_ids), first_hit, figures=figures))

    def _read_back(self, entry: ShardEntry) -> RetrievalScores:
        """The scores of a part that an earlier run committed."""
        url = self.writer.part_url(entry.name)
        with reading(url):
            table = pq.read_table(io.BytesIO(fs.read_bytes(url)))
        names = tuple(metric.name for metric in self.metrics)
        values = np.column_stack([table[name].to_numpy() for name in names])
        query_ids = table["query_id"].combine_chunks()
        return RetrievalScores(names, query_ids, values, int(entry.figures["hits"]), int(entry.figures["queries"]))

    def _check_useful(self, parts: Sequence[RetrievalScores]) -> None:
        """Raise InputError, and leave no output behind, where nothing could be measured."""
        if any(len(part.query_ids) for part in parts):
            return
        self.output.clear()  # so that the next try, with other hits or judgements, is not refused for its lineage
        filled = next((number for number, part in enumerate(parts) if part.hits), None)
        if filled is None:
            raise InputError(f"{self.source.url} holds no hits", "search first, or name another --hits")
        found = self.source.parts[filled].read()["query_id"][0].as_py()
        wanted = self.qrels.query_ids[int(np.argmax(self.qrels.relevant > 0))].as_py()
        raise InputError(
            f"no query of {self.source.url} has a relevant document in the judgements: the hits have queries such as "
            f"{str(found)!r}, the judgements such as {wanted!r}",
            "name the judgements of these queries with --qrels",
        )


class _Ticker:
    """Says now and then, on standard error, how far a long run has come."""

    def __init__(self, parts: int) -> None:
        self._parts = parts
        self._last = time.monotonic()

    def tick(self, done: int, hits: int) -> None:
        """`done` parts with `hits` hits are behind us."""
        if time.monotonic() - self._last >= LOG_EVERY_SECONDS:
            self._last = time.monotonic()
            text = f"evaluate  {done:,}/{self._parts:,} parts  {hits:,} hits"
            current_log().tell("progress", text, parts=done, parts_total=self._parts, hits=hits)


def _about(qrels: Qrels, scores: RetrievalScores) -> dict[str, Any]:
    return {
        "metrics": scores.means(qrels),
        "queries_judged": qrels.judged,
        "queries_without_hits": qrels.judged - len(scores.query_ids),
        "queries_without_judgements": scores.unjudged,
        "queries_without_relevant_documents": len(qrels.query_ids) - qrels.judged,
        "queries_with_hits": scores.queries,
        "hits": scores.hits,
    }


def evaluate_retrieval_summary(result: JobResult) -> str:
    """The figures, over what they were taken, and where they lie."""
    lines = evaluate_retrieval_facts(result) | {
        "by query": f"pyarrow.parquet.read_table('{result.folder}/data')",
        "report": f"{result.folder}/{PAGE}",
    }
    return job_summary("evaluate_retrieval", lines, already=result.already_complete)


def evaluate_retrieval_facts(result: JobResult) -> dict[str, str]:
    """The figures, and over what they were taken."""
    about = result.manifest.about
    lines = {name: f"{value:.6f}" for name, value in about["metrics"].items()}
    lines["mean over"] = f"{about['queries_judged']:,} queries that the judgements have a relevant document for"
    if about["queries_without_hits"]:
        lines["without hits"] = f"{about['queries_without_hits']:,} of them, counted as 0"
    if about["queries_without_judgements"]:
        lines["left out"] = f"{about['queries_without_judgements']:,} queries of the hits, for want of judgements"
    lines["hits"] = f"{about['hits']:,} of {about['queries_with_hits']:,} queries"
    if not result.already_complete:
        lines["this run"] = human_seconds(result.manifest.run["seconds"])
    return lines
