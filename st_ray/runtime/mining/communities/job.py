"""Check everything, count neighbours pair by pair of groups, found communities in one pass, publish their members."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from st_ray.core.errors import InputError
from st_ray.runtime import pipeline
from st_ray.runtime.begin import begun, finished_before
from st_ray.runtime.clock import Laps
from st_ray.runtime.log import Line
from st_ray.runtime.meter import ELAPSED, Meter
from st_ray.runtime.metrics import StageMetrics
from st_ray.runtime.mining.check import check_rows
from st_ray.runtime.mining.communities.config import DetectCommunitiesConfig
from st_ray.runtime.mining.communities.count import CountPair, Pair, cut_pairs, finish_counts, tally
from st_ray.runtime.mining.communities.group import Group, decided, noted
from st_ray.runtime.mining.communities.holders import start_holders, units
from st_ray.runtime.mining.communities.page import report
from st_ray.runtime.mining.communities.parts import PART_ROWS, WritePart, order, part_count
from st_ray.runtime.progress import Progress, Snapshot, progress_line
from st_ray.runtime.report.page import PAGE, run_sections
from st_ray.runtime.resources import TASK_CPUS, ActorPlan, cluster_can_grow, cluster_nodes, keep_bytes, plan_actors
from st_ray.runtime.result import JobResult
from st_ray.runtime.shuffle import spread
from st_ray.runtime.stage import Stage, run_stage
from st_ray.runtime.stage_result import StageResult
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.communities import KIND
from st_ray.store.lineage import Lineage
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import Manifest
from st_ray.store.output import STAGING, OutputFolder, Writer

NOTE_SECONDS = 10.0
"""Work of the greedy pass that is lost, at most, with its task."""
_ACTOR_BYTES = 2 << 30
_COUNTS, _FOUND = "counts", "found"


def detect_communities(config: DetectCommunitiesConfig, session: ExitStack | None = None) -> JobResult:
    """Run the job to its end.

    The communities are those of `st_ray.community_detection` on the same embeddings. The driver holds what grows with
    the number of tasks alone; one task at a time, the greedy pass and then the one that puts its communities in order,
    holds some bytes a row: see `Group` and `order`.

    Args:
        config: see `DetectCommunitiesConfig`.
        session: takes over the Ray session, for what the caller does next; by default it ends with the job.

    Raises:
        StRayError: embeddings, output or resources that do not do, before Ray starts where that is possible;
            ShardError if some shards failed (the others stay committed).
    """
    laps = Laps()
    output = OutputFolder(config.output, KIND, beside=(PAGE,))
    output.check_usable()
    store = StoredVectors.open(config.embeddings)
    _check(config, store)
    lineage = _lineage(config, store)
    finished = finished_before(config, output, lineage)
    if finished is not None:
        return finished
    with begun(config, output, lineage, laps, session) as (lock, writer):
        run = _Run(config, store, output, lock)
        run.check_rows()
        laps.end("check")
        counted, files = run.count()
        laps.end("count")
        grouped = run.group(files)
        laps.end("group")
        facts, written = run.write(grouped, writer)
        laps.end("write")
        about = _about(config, store, grouped, facts)
        of_run = run_sections(config, lineage, laps.seconds, [counted, written])
        page = report(config, store, about, facts["samples"], of_run)
        fs.write_atomic(fs.join(output.folder, PAGE), page)
        laps.end("report")
        figures = {
            "shards_done_before": counted.done_before + written.done_before,
            "candidates_done_before": grouped.done_before,
            "pairs": counted.rows,
            "asked": grouped.asked,
            "seconds_of": laps.seconds,
            "seconds": round(sum(laps.seconds.values()), 3),
        }
        lock.require_held(output.folder)
        manifest = Manifest(KIND, lineage, written.entries, about, figures)
        output.finish(manifest)
    return JobResult(manifest, output.folder)


def _check(config: DetectCommunitiesConfig, store: StoredVectors) -> None:
    if store.is_binary:
        raise InputError(
            f"{store.folder} holds bits ({store.precision}), which have no cosine",
            "encode with --precision float32, float16, int8 or uint8",
        )
    if config.keep_text and not store.lineage.get("keep_text"):
        raise InputError(
            f"--keep-text: {store.folder} holds no texts", "leave it out, or encode again with --keep-text"
        )


def _lineage(config: DetectCommunitiesConfig, store: StoredVectors) -> Lineage:
    return {
        "embeddings": store.digest,
        "threshold": config.threshold,
        "min_community_size": config.min_community_size,
        "keep_text": config.keep_text,
        "part_rows": PART_ROWS,
    }


@dataclass(frozen=True)
class _Grouped:
    """What the greedy pass left.

    Attributes:
        candidates: rows with enough neighbours.
        notes: URLs of what it found.
        rows: in a community.
        asked: candidates whose neighbours were asked for in this run.
        done_before: candidates that an earlier run had decided.
    """

    candidates: int
    notes: tuple[str, ...]
    rows: int
    asked: int
    done_before: int


@dataclass(frozen=True)
class _Run:
    """What is settled before the first shard."""

    config: DetectCommunitiesConfig
    store: StoredVectors
    output: OutputFolder
    lock: OutputLock

    def check_rows(self) -> None:
        """Raise InputError, and leave no output behind, where a row has no cosine."""
        try:
            check_rows(self.store, cosine=True)
        except InputError:
            self.output.clear()  # so that the next try, with a mended store, is not refused for its lineage
            raise

    def count(self) -> tuple[StageResult, list[tuple[str, Pair]]]:
        """The neighbours of each row, as a file for each pair of groups: an output of its own that is staged."""
        config, store = self.config, self.store
        pairs = cut_pairs(store.rows) if store.rows >= config.min_community_size else []
        groups = [pair.ours for pair in pairs if pair.ours == pair.theirs]
        folder, writer = self._staged(_COUNTS, {"groups": [group.last for group in groups]})
        plan, meter = self._plan(len(pairs)), Meter()
        make = functools.partial(CountPair, store, config.threshold, plan.threads, _device(plan), meter.client())
        stage = Stage(
            label="count",
            tasks=pairs,
            rows=[pair.pairs for pair in pairs],
            connect=lambda ds, careful: pipeline.map_actors(
                ds, make, plan.fitted(cluster_nodes()) if careful else plan, careful=careful
            ),
            finish=finish_counts,
            noun="pairs",
        )
        result = run_stage(stage, folder, writer, self.lock, meter)
        return result, [(writer.part_url(entry.name), pair) for entry, pair in zip(result.entries, pairs, strict=True)]

    def group(self, files: Sequence[tuple[str, Pair]]) -> _Grouped:
        """The communities, as notes that are staged, in the order in which they were founded."""
        least = self.config.min_community_size
        folder, writer = self._staged(_FOUND, {"min_community_size": least})
        counts = spread(tally, [(files, self.store.rows, least)], 2, num_cpus=TASK_CPUS)
        sizes, candidates = counts[0][0], pipeline.result_of(counts[0][1])
        before, asked = decided(noted(folder, writer)), 0
        if before < candidates:
            asked = self._decide(sizes, candidates - before, folder, writer)
        notes = noted(folder, writer)
        urls = tuple(writer.part_url(entry.name) for entry in notes)
        return _Grouped(candidates, urls, sum(entry.rows for entry in notes), asked, before)

    def _decide(self, sizes: Any, candidates: int, folder: OutputFolder, writer: Writer) -> int:
        """Run the greedy pass over what is left, `candidates`; `sizes` is a reference."""
        plan, meter = self._plan(units(self.store.rows)), Meter()
        holders = start_holders(self.store, self.config.threshold, plan, keep_bytes(plan, cluster_nodes()))
        try:
            group = Group(holders, self.config.min_community_size, folder, writer, NOTE_SECONDS, meter.client())
            with _progress(candidates, meter, self.output.folder):
                [[asked]] = spread(lambda counts: [group(counts)], [(sizes,)], 1, num_cpus=TASK_CPUS)
                found = pipeline.result_of(asked)
        finally:
            holders.stop()
        self.lock.require_held(self.output.folder)
        return found

    def write(self, grouped: _Grouped, writer: Writer) -> tuple[dict[str, Any], StageResult]:
        """What is told of all communities, and the parts of the result."""
        count = part_count(grouped.rows)
        [[*parts, facts]] = spread(
            order, [(grouped.notes, self.config.min_community_size)], count + 1, num_cpus=TASK_CPUS
        )
        meter = Meter()
        stage = Stage(
            label="write",
            tasks=range(count),
            rows=[min(PART_ROWS, grouped.rows - part * PART_ROWS) for part in range(count)],
            finish=WritePart(parts, self.store, self.config.keep_text, meter.client()),
            writers=min(count, self._plan(count).maximum),
            describe=lambda part: f"rows from {part * PART_ROWS:,} on",
        )
        return pipeline.result_of(facts), run_stage(stage, self.output, writer, self.lock, meter)

    def _staged(self, name: str, lineage: Lineage) -> tuple[OutputFolder, Writer]:
        folder = OutputFolder(fs.join(self.output.folder, STAGING, name), f"{name} of communities")
        own = {"embeddings": self.store.digest, "threshold": self.config.threshold}
        return folder, folder.begin({**own, **lineage})

    def _plan(self, shards: int) -> ActorPlan:
        return plan_actors(
            cluster_nodes(),
            shards=shards,
            actor_bytes=_ACTOR_BYTES,
            actors=self.config.actors,
            gpus_per_actor=self.config.gpus_per_actor,
            cpus_per_actor=self.config.cpus_per_actor,
            can_grow=cluster_can_grow(),
        )


def _device(plan: ActorPlan) -> str:
    return "cuda" if plan.gpus else "cpu"


def _progress(candidates: int, meter: Meter, output: str) -> Any:
    metrics = StageMetrics("group", output)

    def line() -> Line:
        totals = meter.read()
        metrics.worked(totals)
        now = Snapshot(totals.get("rows", 0), 0, 0, totals.get(ELAPSED, 0))
        return progress_line("group", now, candidates, 1, "candidates")

    return Progress(line)


def _about(
    config: DetectCommunitiesConfig, store: StoredVectors, grouped: _Grouped, facts: dict[str, Any]
) -> dict[str, Any]:
    """What a reader of the communities wants to know."""
    return {
        "embeddings": store.folder,
        "rows": store.rows,
        "threshold": config.threshold,
        "min_community_size": config.min_community_size,
        "rows_with_enough_neighbours": grouped.candidates,
        "rows_in_communities": grouped.rows,
        **{name: facts[name] for name in ("communities", "largest", "median", "smallest", "sizes")},
    }
