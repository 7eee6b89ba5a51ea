"""Check everything, find the neighbours of both sides, choose pairs by their margins, publish them with a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from st_ray.core.errors import InputError
from st_ray.runtime.begin import begun, finished_before
from st_ray.runtime.clock import Laps
from st_ray.runtime.meter import Meter
from st_ray.runtime.mining.bitext.config import MineBitextConfig
from st_ray.runtime.mining.bitext.report import Outline, bitext_page, outline_of
from st_ray.runtime.mining.bitext.staging import SUFFIX
from st_ray.runtime.mining.bitext.steps import ChoosePairs, FindNearest, WritePairs
from st_ray.runtime.mining.check import check_rows, row_ranges
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.report.page import PAGE, run_sections
from st_ray.runtime.resources import ActorPlan, cluster_can_grow, cluster_nodes, keep_bytes, task_count
from st_ray.runtime.result import JobResult
from st_ray.runtime.search.pool import SearchPool, start_pool
from st_ray.runtime.search.target import Target, plan_search
from st_ray.runtime.shuffle import spread
from st_ray.runtime.stage import Stage, run_stage
from st_ray.runtime.stage_result import StageResult
from st_ray.scoring.similarity import similarity_of
from st_ray.scoring.vectors import StoredVectors
from st_ray.search.comparable import check_comparable
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import Manifest
from st_ray.store.output import STAGING, OutputFolder, Writer
from st_ray.store.pairs import KIND

_FORWARD, _BACKWARD, _CHOOSE = "forward", "backward", "choose"
_IN_FLIGHT = 3
"""Shards at once: one that the actors work on, one that waits for them, one that is read or written."""
_NOBODY = SearchPool((), np.zeros(1, np.int64), ())


def mine_bitext(config: MineBitextConfig, session: ExitStack | None = None) -> JobResult:
    """Run the job to its end; the pairs are those of `st_ray.mine_bitext`.

    Args:
        config: see `MineBitextConfig`.
        session: takes over the Ray session, for what the caller does next; by default it ends with the job.

    Raises:
        StRayError: bad stores, output or resources, before anything is searched where that is possible; ShardError if
            some shards failed (the others stay committed).
    """
    laps = Laps()
    output = OutputFolder(config.output, KIND, beside=(PAGE,))
    output.check_usable()
    source, target = _open_sides(config)
    lineage = _lineage(config, source, target)
    finished = finished_before(config, output, lineage)
    if finished is not None:
        return finished
    with begun(config, output, lineage, laps, session) as (lock, writer):
        run = _Run(config, source, target, lineage, output, lock)
        run.check_rows()
        laps.end("check")
        forward = run.nearest(_FORWARD, source, target)
        laps.end(_FORWARD)
        backward = run.nearest(_BACKWARD, target, source)
        laps.end(_BACKWARD)
        chosen = run.choose(forward, backward)
        laps.end(_CHOOSE)
        written = run.write(chosen, writer)
        laps.end("write")
        outline = run.outline(chosen)
        about = _about(config, source, target, chosen.figures, outline)
        lock.require_held(output.folder)
        stages = [forward.result, backward.result, chosen.result, written]
        of_run = run_sections(config, lineage, laps.seconds, stages)
        fs.write_atomic(fs.join(output.folder, PAGE), bitext_page(about, lineage, outline, of_run))
        laps.end("report")
        figures = _figures({_FORWARD: forward, _BACKWARD: backward}, written, laps.seconds)
        manifest = Manifest(KIND, lineage, written.entries, about, figures)
        output.finish(manifest)
    return JobResult(manifest, output.folder)


@dataclass(frozen=True)
class _Staged:
    """A stage whose parts the next one reads.

    Attributes:
        urls: of the parts, in order.
        plan: of the actors; None where none were needed.
    """

    urls: tuple[str, ...]
    result: StageResult
    plan: ActorPlan | None = None

    @property
    def figures(self) -> dict[str, int]:
        """Of the only part."""
        return {name: int(value) for name, value in self.result.entries[0].figures.items()}


@dataclass(frozen=True)
class _Run:
    """What is settled before the first shard."""

    config: MineBitextConfig
    source: StoredVectors
    target: StoredVectors
    lineage: Lineage
    output: OutputFolder
    lock: OutputLock

    def check_rows(self) -> None:
        """Raise InputError, and leave no output behind, where a row of a store has no cosine."""
        try:
            for store in (self.source, self.target):
                check_rows(store, cosine=True)
        except InputError:
            self.output.clear()  # so that the next try, with mended stores, is not refused for its lineage
            raise

    def nearest(self, name: str, asking: StoredVectors, searched: StoredVectors) -> _Staged:
        """The neighbours, among the rows of `searched`, of each row of `asking`."""
        config = self.config
        folder, writer = self._folder(name, "nearest rows", ["source", "target", "neighbors", "shard_rows"])
        shards = row_ranges(asking.rows if searched.rows else 0, config.shard_rows)
        meter, plan, pool = Meter(), None, _NOBODY
        with ExitStack() as stack:
            if len(folder.committed(writer)) < len(shards):
                side = Target(searched, similarity_of("cosine"), {})
                plan = plan_search(config, side)
                kept = keep_bytes(plan, cluster_nodes(), config.keep_gib) if len(shards) > 1 else 0
                pool = start_pool(*side.shares(plan, kept, meter.client()), plan)
                stack.callback(pool.stop)
            stage = Stage(
                label=f"search {name}",
                tasks=shards,
                rows=[last - first for first, last in shards],
                finish=FindNearest(pool, asking, min(config.neighbors, searched.rows)),
                writers=_IN_FLIGHT,
                suffix=SUFFIX,
                describe=lambda shard: f"rows {shard[0]:,} to {shard[1] - 1:,} of {asking.folder}",
            )
            result = run_stage(stage, folder, writer, self.lock, meter)
        return _Staged(tuple(writer.part_url(entry.name) for entry in result.entries), result, plan)

    def choose(self, forward: _Staged, backward: _Staged) -> _Staged:
        """All pairs, best first, in one file."""
        config = self.config
        folder, writer = self._folder(_CHOOSE, "chosen pairs", list(self.lineage))
        finish = ChoosePairs(
            forward.urls, backward.urls, config.margin, config.retrieval, config.threshold, config.shard_rows
        )
        stage = Stage(
            label=_CHOOSE,
            tasks=[None],
            rows=[sum(entry.rows for side in (forward, backward) for entry in side.result.entries)],
            finish=finish,
            suffix=SUFFIX,
            describe=lambda task: "all candidates",
        )
        result = run_stage(stage, folder, writer, self.lock, Meter())
        return _Staged((writer.part_url(result.entries[0].name),), result)

    def write(self, chosen: _Staged, writer: Writer) -> StageResult:
        """The parts of the result; one that is empty where there are no pairs."""
        kept = chosen.figures["kept"]
        ranges = row_ranges(kept, self.config.shard_rows) or [(0, 0)]
        stage = Stage(
            label="write",
            tasks=[(number, *rows) for number, rows in enumerate(ranges)],
            rows=[last - first for first, last in ranges],
            finish=WritePairs(self.source, self.target, chosen.urls[0], self.config.keep_text),
            writers=task_count(cluster_nodes(), len(ranges), self.config.actors, cluster_can_grow()),
            writer_cpus=1.0,
            describe=lambda task: f"pairs {task[1]:,} to {task[2] - 1:,}",
            noun="pairs",
        )
        return run_stage(stage, self.output, writer, self.lock, Meter())

    def outline(self, chosen: _Staged) -> Outline:
        """What the report shows."""
        call = (self.source, self.target, chosen.urls[0], self.config.shard_rows, chosen.figures["kept"])
        ((ref,),) = spread(outline_of, [call], 1)
        return result_of(ref)

    def _folder(self, name: str, kind: str, parts: Sequence[str]) -> tuple[OutputFolder, Writer]:
        """An output of its own that is staged, and depends on these parts of the lineage."""
        folder = OutputFolder(fs.join(self.output.folder, STAGING, name), kind)
        return folder, folder.begin({part: self.lineage[part] for part in parts})


def _open_sides(config: MineBitextConfig) -> tuple[StoredVectors, StoredVectors]:
    """Both stores. Raises InputError where they cannot be compared, or lack what is asked of them."""
    source, target = StoredVectors.open(config.source), StoredVectors.open(config.target)
    for store in (source, target):
        if store.is_binary:
            raise InputError(
                f"{store.folder} holds bits, which have no cosines", "encode its texts with --precision float32 or int8"
            )
    check_comparable(source, target, "cosine", ("source", "target"))
    if config.keep_text:
        for store in (source, target):
            store.columns_at(["text"], np.arange(min(1, store.rows)))  # raises where there are none
    return source, target


def _lineage(config: MineBitextConfig, source: StoredVectors, target: StoredVectors) -> Lineage:
    return {
        "source": source.digest,
        "target": target.digest,
        "neighbors": config.neighbors,
        "margin": config.margin,
        "retrieval": config.retrieval,
        "threshold": config.threshold,
        "keep_text": config.keep_text,
        "shard_rows": config.shard_rows,
    }


def _about(
    config: MineBitextConfig,
    source: StoredVectors,
    target: StoredVectors,
    counts: Mapping[str, int],
    outline: Outline,
) -> dict[str, Any]:
    """What a reader of the pairs wants to know."""
    how = {"ratio": "divided by", "distance": "less"}.get(config.margin)
    around = f", {how} the mean of those of {config.neighbors} neighbours each" if how else ""
    return {
        "source": source.folder,
        "target": target.folder,
        "source_rows": source.rows,
        "target_rows": target.rows,
        "scores": f"{config.margin}: cosines{around}",
        "candidates_forward": counts[_FORWARD],
        "candidates_backward": counts[_BACKWARD],
        "candidates_mutual": counts["mutual"],
        "pairs": counts["kept"],
        "below_threshold": counts["below"],
        "margin_quantiles": {f"{level:g}": margin for level, margin in outline.quantiles.items()},
    }


def _figures(searches: Mapping[str, _Staged], written: StageResult, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What this run did."""
    plan = next((found.plan for found in searches.values() if found.plan), None)
    actors = {"actors": plan.maximum, "threads_per_actor": plan.threads, "gpus_per_actor": plan.gpus} if plan else {}
    return {
        **actors,
        "shards_done_before": {
            **{name: found.result.done_before for name, found in searches.items()},
            "write": written.done_before,
        },
        "rows": sum(found.result.rows for found in searches.values()),
        "pairs": written.rows,
        "search_seconds": round(sum(found.result.seconds for found in searches.values()), 3),
        "seconds_of": dict(seconds),
        "seconds": round(sum(seconds.values()), 3),
    }
