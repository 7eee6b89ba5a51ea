"""The term counts of a corpus of texts: a part for each shard, and the statistics of all. An output of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import ray

from st_ray.runtime.clock import Laps
from st_ray.runtime.corpus import ScanRequest, flags_of_a_corpus, prepare_corpus, reading_lineage, stamps_digest
from st_ray.runtime.joining import job_session
from st_ray.runtime.meter import Meter, MeterClient
from st_ray.runtime.pipeline import Row, result_of, task_of
from st_ray.runtime.resources import cluster_can_grow, cluster_nodes, task_count
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.texts import describe_rows
from st_ray.runtime.session import data_context
from st_ray.runtime.stage import Stage, run_stage
from st_ray.search.lexical import LIBRARY, Words, frequencies_of, merged_frequencies
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import Manifest, ShardEntry
from st_ray.store.output import OutputFolder, Part
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import read_shard
from st_ray.store.readers.spec import ReadSpec
from st_ray.store.rejects import left_out
from st_ray.store.terms import KIND, STATISTICS, read_counts, statistics_bytes, terms_bytes

_FAN_IN = 8
"""Parts, or sums of them, that one task adds up."""


def count_terms(config: SearchConfig, request: ScanRequest, words: Words, folder: str, session: ExitStack) -> Manifest:
    """The finished term counts in `folder`; what is missing of them is done. `session` takes over the Ray session.

    Raises:
        StRayError: bad input, or a folder with counts of another corpus or other settings; ShardError if some shards
            failed (the others stay committed).
    """
    laps = Laps()
    output = OutputFolder(folder, KIND, beside=(STATISTICS,))
    output.check_usable()
    finished = output.manifest()
    if finished is not None and finished.about.get("input_stamps") == stamps_digest(request.files):
        output.check_lineage(_lineage(request, words, finished.lineage["input"]))
        return finished
    with output.lock() as lock:
        if not request.small:
            session.enter_context(job_session(config))
        with flags_of_a_corpus():
            corpus = prepare_corpus(request)
        lineage = _lineage(request, words, corpus.digest)
        writer = output.begin(lineage)
        session.enter_context(job_session(config))
        data_context(config.debug)
        laps.end("input and Ray")
        meter = Meter()
        stage = Stage(
            label="count words",
            tasks=corpus.shards,
            rows=[shard.rows for shard in corpus.shards],
            finish=CountTerms(corpus.spec, config.on_bad_row, words, meter.client()),
            writers=task_count(cluster_nodes(), len(corpus.shards), config.actors, cluster_can_grow()),
            writer_cpus=1.0,
            describe=describe_rows,
            noun="documents",
        )
        result = run_stage(stage, output, writer, lock, meter)
        laps.end("count")
        terms = merge_statistics(output.folder, result.entries)
        laps.end("statistics")
        manifest = Manifest(
            kind=KIND,
            lineage=lineage,
            entries=result.entries,
            about={
                "documents": sum(entry.rows for entry in result.entries),
                "words": sum(int(entry.figures["words"]) for entry in result.entries),
                "terms": terms,
                "source_rows": corpus.rows,
                "input_stamps": corpus.stamps,
            },
            run={"documents": result.rows, "shards_done_before": result.done_before, "seconds": laps.seconds},
        )
        output.finish(manifest)
    return manifest


def _lineage(request: ScanRequest, words: Words, digest: str) -> Lineage:
    return {
        "input": digest,
        **reading_lineage(request.spec, request.on_bad_row),
        "shard_rows": request.shard_rows,
        "stopwords": words.stopwords,
        "stemmer": words.stemmer,
        # It says what a word is, which words are stop words, and what the counts will weigh.
        "library": LIBRARY,
    }


@dataclass(frozen=True)
class CountTerms:
    """Reads a shard and counts its words."""

    spec: ReadSpec
    on_bad_row: Literal["fail", "skip"]
    words: Words
    meter: MeterClient

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published."""
        plan: ShardPlan = task_of(row)
        block = read_shard(plan, self.spec, on_bad_row=self.on_bad_row)
        counts = self.words.count(block.texts)
        self.meter.add(rows=plan.rows)
        self.meter.flush()
        return Part(
            data=terms_bytes(block.ids, block.rows, counts),
            rows=len(counts),
            first_row=plan.first_row,
            figures={"words": int(counts.lengths.sum()), "distinct": len(counts.codes)},
            **left_out(block.rejects, row["name"]),
        )


def merge_statistics(folder: str, entries: Sequence[ShardEntry]) -> int:
    """Write the statistics of all parts; returns the number of terms.

    Parts are added up in a tree of tasks, and the last one writes: this process holds nothing of it, a task some
    vocabularies, each bounded by that of the corpus (some 30 bytes and its letters for a term).
    """
    read, add, write = (ray.remote(step) for step in (_frequencies, _sum, _write))
    sums = [read.remote(folder, entries[start : start + _FAN_IN]) for start in range(0, len(entries), _FAN_IN)]
    while len(sums) > _FAN_IN:
        sums = [add.remote(*sums[start : start + _FAN_IN]) for start in range(0, len(sums), _FAN_IN)]
    return int(result_of(write.remote(fs.join(folder, STATISTICS), *sums)))


def _frequencies(folder: str, entries: Sequence[ShardEntry]) -> pa.Table:
    return _sum(*(frequencies_of(read_counts(folder, entry)) for entry in entries))


def _sum(*tables: Any) -> pa.Table:
    return merged_frequencies(tables)


def _write(url: str, *tables: Any) -> int:
    total = _sum(*tables)
    fs.write_atomic(url, statistics_bytes(total))
    return len(total)
