"""Check everything, make ready what is searched and asked, put it to the actors shard by shard, publish the hits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from st_ray.core.errors import StRayError
from st_ray.runtime.clock import Laps
from st_ray.runtime.joining import job_session
from st_ray.runtime.meter import Meter
from st_ray.runtime.report.page import PAGE, laps_with, write_report
from st_ray.runtime.report.scores import score_sections
from st_ray.runtime.resources import ActorPlan, cluster_nodes, keep_bytes
from st_ray.runtime.result import JobResult
from st_ray.runtime.search.answer import WITHOUT_HITS, Answer
from st_ray.runtime.search.base import QUERIES, TERMS, Ready, SearchKind
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.pool import SearchPool, start_pool
from st_ray.runtime.search.summary import search_facts
from st_ray.runtime.session import data_context
from st_ray.runtime.stage import Stage, run_stage
from st_ray.runtime.stage_result import StageResult
from st_ray.store import fs
from st_ray.store.hits import KIND, SUFFIXES
from st_ray.store.manifest import Manifest, ShardEntry
from st_ray.store.output import RUN, OutputFolder

if TYPE_CHECKING:
    from st_ray.runtime.encode.steps import EncoderLoader

_IN_FLIGHT = 3
"""Shards of queries at once: one that the actors work on, one that waits for them, one that is read or written."""


def search(config: SearchConfig, loader: EncoderLoader | None = None, session: ExitStack | None = None) -> JobResult:
    """Run the job to its end.

    Args:
        config: see `SearchConfig`.
        loader: an encoder of the caller's own for query texts, in place of a model folder's.
        session: takes over the Ray session, for what the caller does next; by default it ends with the job.

    Raises:
        StRayError: bad queries, corpus, index, output or resources, before anything is searched where that is possible;
            ShardError if some shards failed (the others stay committed).
    """
    laps = Laps()
    output = OutputFolder(config.output, KIND, beside=(QUERIES, TERMS, PAGE))
    output.check_usable()
    with ExitStack() as stack:
        session = session or stack
        kind = _open(config, loader, session)
        lock = stack.enter_context(output.lock())
        if config.overwrite:
            output.clear()
        fresh = output.begun_lineage() is None
        writer = output.begin(kind.lineage)
        laps.end("input")
        try:
            ready = kind.ready(output.folder, session)
        except StRayError:
            if fresh and not fs.is_file(fs.join(output.folder, kind.own, RUN)):
                output.clear()  # so that mended flags do not meet the old ones
            raise
        laps.end(kind.own)
        finished = output.manifest()
        if finished is not None:
            return JobResult(finished, output.folder, already_complete=True)
        session.enter_context(job_session(config))
        data_context(config.debug)
        laps.end("Ray")
        run = _Run(config, ready)
        plan, meter = ready.target.plan(config), Meter()
        pool = run.start(plan, meter)
        stack.callback(pool.stop)
        laps.end("load")
        result = run_stage(run.stage(pool), output, writer, lock, meter)
        manifest = Manifest(
            kind=KIND,
            lineage=kind.lineage,
            entries=result.entries,
            about=run.about(result.entries),
            run=_figures(result, plan, len(pool.actors), laps.seconds),
        )
        done = JobResult(manifest, output.folder)
        of_run = laps_with(laps.seconds, result)
        write_report(config, done, search_facts(done), of_run, [result], score_sections(result))
        output.finish(manifest)
    return done


def _open(config: SearchConfig, loader: EncoderLoader | None, session: ExitStack) -> SearchKind:
    # Each kind has libraries that the other can do without.
    if config.bm25:
        from st_ray.runtime.search.lexical import LexicalSearch

        return LexicalSearch.open(config, session)
    from st_ray.runtime.search.vectors import VectorSearch

    return VectorSearch.open(config, loader)


@dataclass(frozen=True)
class _Run:
    """What is settled before the actors start."""

    config: SearchConfig
    ready: Ready

    def start(self, plan: ActorPlan, meter: Meter) -> SearchPool:
        """The actors, loaded. What they keep of a store serves from the second shard on."""
        room = keep_bytes(plan, cluster_nodes(), self.config.keep_gib) if len(self.ready.queries.shards) > 1 else 0
        return start_pool(*self.ready.target.shares(plan, room, meter.client()), plan)

    def stage(self, pool: SearchPool) -> Stage:
        """The work on the shards."""
        config, queries = self.config, self.ready.queries
        return Stage(
            label="search",
            tasks=queries.shards,
            rows=queries.sizes,
            finish=Answer(pool, queries.read, config.top_k, self.ready.multiplier, config.format),
            writers=_IN_FLIGHT,
            suffix=SUFFIXES[config.format],
            noun="queries",
            describe=queries.describe,
        )

    def about(self, entries: Sequence[ShardEntry]) -> dict[str, Any]:
        """What a reader of the hits wants to know."""
        return {
            "format": self.config.format,
            "queries": self.ready.queries.rows,
            "queries_without_hits": sum(int(entry.figures[WITHOUT_HITS]) for entry in entries),
            **self.ready.about,
        }


def _figures(result: StageResult, plan: ActorPlan, actors: int, start_up: dict[str, float]) -> dict[str, Any]:
    return {
        "actors": actors,
        "threads_per_actor": plan.threads,
        "gpus_per_actor": plan.gpus,
        "shards_done_before": result.done_before,
        "queries": result.rows,
        "start_up_seconds": {**start_up, "first shard": round(result.first_commit_seconds, 2)},
        "seconds": round(sum(start_up.values()) + result.seconds, 3),
        "search_seconds": round(result.seconds, 3),
    }
