"""Check everything, encode the queries if they are texts, put them to the actors shard by shard, publish the hits."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from st_ray.core.errors import InputError, StRayError
from st_ray.runtime.clock import Laps
from st_ray.runtime.encode.steps import EncoderLoader
from st_ray.runtime.meter import Meter
from st_ray.runtime.pipeline import Row, task_of
from st_ray.runtime.resources import ActorPlan, cluster_nodes
from st_ray.runtime.result import JobResult
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.pool import SearchPool, start_pool
from st_ray.runtime.search.queries import QUERIES, encode_queries
from st_ray.runtime.search.target import Target, keep_bytes, open_target, plan_search
from st_ray.runtime.session import data_context, ray_session
from st_ray.runtime.stage import Stage, StageResult, run_stage
from st_ray.scoring.topk import PADDING
from st_ray.scoring.vectors import StoredVectors
from st_ray.search.comparable import check_comparable
from st_ray.store import fs
from st_ray.store.hits import KIND, SUFFIXES, HitsFormat, hits_bytes, hits_table
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import MANIFEST, Manifest
from st_ray.store.output import RUN, OutputFolder, Part

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
    output = OutputFolder(config.output, KIND, beside=(QUERIES,))
    output.check_usable()
    target = open_target(config)
    asked = _named_queries(config)
    if asked is not None:
        check_comparable(asked, target.store, target.similarity.name)
    lineage = _lineage(config, target, asked)
    with ExitStack() as stack:
        lock = stack.enter_context(output.lock())
        if config.overwrite:
            output.clear()
        fresh = output.begun_lineage() is None
        writer = output.begin(lineage)
        laps.end("input")
        try:
            queries = asked or encode_queries(config, target.store, output.folder, loader, session or stack)
            check_comparable(queries, target.store, target.similarity.name)
        except StRayError:
            if fresh and not fs.exists(fs.join(output.folder, QUERIES, RUN)):
                output.clear()  # so that mended flags do not meet the old ones
            raise
        laps.end("queries")
        finished = output.manifest()
        if finished is not None:
            return JobResult(finished, output.folder, already_complete=True)
        (session or stack).enter_context(ray_session(config.address, debug=config.debug))
        data_context(config.debug)
        laps.end("Ray")
        run = _Run(config, target, queries)
        plan, meter = plan_search(config, target), Meter()
        pool = run.start(plan, meter)
        stack.callback(pool.stop)
        laps.end("load")
        result = run_stage(run.stage(pool), output, writer, lock, meter)
        manifest = Manifest(
            kind=KIND,
            lineage=lineage,
            entries=result.entries,
            about=run.about(),
            run=_figures(result, plan, len(pool.actors), laps.seconds),
        )
        output.finish(manifest)
    return JobResult(manifest, output.folder)


@dataclass(frozen=True)
class _Run:
    """What is settled before the actors start."""

    config: SearchConfig
    target: Target
    queries: StoredVectors

    @property
    def shards(self) -> list[tuple[int, int, int]]:
        """Number, first row and the row after the last of each shard of queries."""
        rows, size = self.queries.rows, self.config.shard_rows
        return [(number, first, min(first + size, rows)) for number, first in enumerate(range(0, rows, size))]

    def start(self, plan: ActorPlan, meter: Meter) -> SearchPool:
        """The actors, loaded. What they keep of a store serves from the second shard on."""
        room = keep_bytes(self.config, plan, cluster_nodes()) if len(self.shards) > 1 else 0
        return start_pool(*self.target.shares(plan, room, meter.client()), plan)

    def stage(self, pool: SearchPool) -> Stage:
        """The work on the shards."""
        config = self.config
        return Stage(
            label="search",
            tasks=self.shards,
            rows=[last - first for _, first, last in self.shards],
            connect=lambda ds, careful: ds,
            finish=Answer(pool, self.queries, config.top_k, _multiplier(config, self.target), config.format),
            writers=_IN_FLIGHT,
            suffix=SUFFIXES[config.format],
            noun="queries",
            describe=lambda task: f"queries {task[1]:,} to {task[2] - 1:,}",
        )

    def about(self) -> dict[str, Any]:
        """What a reader of the hits wants to know."""
        config, target = self.config, self.target
        index = target.index
        return {
            "format": config.format,
            "scores": _scores(target, _multiplier(config, target)),
            "queries": self.queries.rows,
            "corpus_rows": target.store.rows,
            "searched": config.index or config.embeddings,
            "embeddings": target.store.folder,
            "query_embeddings": self.queries.folder,
            "query_embeddings_digest": self.queries.digest,
            "factory": index.spec.factory if index else None,
            "parameter_name": index.spec.search_parameter if index else None,
        }


@dataclass(frozen=True)
class Answer:
    """The hits of a shard of queries.

    Attributes:
        multiplier: candidates in multiples of `top_k`, to be scored again; 0 for none.
    """

    pool: SearchPool
    queries: StoredVectors
    top_k: int
    multiplier: int
    format: HitsFormat

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published."""
        number, first, last = task_of(row)
        blocks = [self.queries.floats(rows) for _, rows in self.queries.blocks(first, last)]
        asked = np.concatenate(blocks) if blocks else np.empty((0, self.queries.dimension), np.float32)
        _check_finite(asked, self.queries, first)
        wanted = self.top_k * max(1, self.multiplier)
        scores, positions = self.pool.search(asked, wanted, turn=number)
        if self.multiplier:
            scores, positions = self.pool.rescore(asked, positions, self.top_k)
        real = positions != PADDING
        ids = self.pool.ids(positions[real])
        table = hits_table(self.queries.ids(first, last), real.sum(axis=1), ids, scores[real])
        data = hits_bytes(table, self.format)
        return Part(data=data, rows=len(table), first_row=first, figures={"queries": len(asked)})


def _check_finite(queries: np.ndarray, store: StoredVectors, first: int) -> None:
    finite = np.isfinite(queries).all(axis=1)
    if not finite.all():
        position = first + int(np.flatnonzero(~finite)[0])
        identity = store.ids(position, position + 1)[0].as_py()
        raise InputError(
            f"the embedding of query {identity!r} is not finite ({int((~finite).sum())} such queries in this shard)",
            f"encode the queries of {store.folder} again",
        )


def _named_queries(config: SearchConfig) -> StoredVectors | None:
    """The store of queries, if one was named; None for texts."""
    if len(config.queries) == 1 and fs.exists(fs.join(config.queries[0], MANIFEST)):
        return StoredVectors.open(config.queries[0])
    return None


def _lineage(config: SearchConfig, target: Target, queries: StoredVectors | None) -> Lineage:
    return {
        **target.lineage,
        # Those of texts are an output of their own, with a lineage of its own.
        "queries": queries.digest if queries else QUERIES,
        "top_k": config.top_k,
        "similarity": target.similarity.name,
        "rescore_multiplier": _multiplier(config, target),
        "format": config.format,
        "shard_rows": config.shard_rows,
    }


def _multiplier(config: SearchConfig, target: Target) -> int:
    if target.index is None and not target.store.is_binary:
        return 0  # every row is scored as finely as it can be
    return config.rescore_multiplier if config.rescore_multiplier is not None else 2 * target.store.is_binary


def _scores(target: Target, multiplier: int) -> str:
    """What the scores are."""
    if target.store.is_binary:
        return "dot products of queries and bits" if multiplier else "negated Hamming distances"
    return f"{target.similarity.name}, of the stored embeddings" if multiplier else target.similarity.name


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
