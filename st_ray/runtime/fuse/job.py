"""Check everything, split the hits by query into buckets, fuse bucket by bucket, publish the hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from st_ray.core.errors import ConfigError, InputError
from st_ray.runtime.begin import begun, finished_before
from st_ray.runtime.clock import Laps
from st_ray.runtime.fuse.config import FuseConfig
from st_ray.runtime.fuse.staging import SUFFIX
from st_ray.runtime.fuse.steps import FuseBucket, SplitParts, group_parts
from st_ray.runtime.fuse.summary import fuse_facts
from st_ray.runtime.meter import Meter
from st_ray.runtime.report.page import PAGE, write_report
from st_ray.runtime.resources import cluster_can_grow, cluster_nodes, plan_actors
from st_ray.runtime.result import JobResult
from st_ray.runtime.stage import Stage, run_stage
from st_ray.runtime.stage_result import StageResult
from st_ray.search.fusion import ID_COLUMNS
from st_ray.store import fs
from st_ray.store.hit_sets import HitSet, open_hit_set
from st_ray.store.hits import KIND, SUFFIXES
from st_ray.store.lineage import Lineage
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import Manifest, ShardEntry
from st_ray.store.output import STAGING, OutputFolder, Writer

BUCKET_HITS = 2_000_000
"""About so many hits are fused at once, and as many are split at once where parts are smaller."""
_TASK_BYTES = 1 << 30
_SPLIT = "split"


def fuse(config: FuseConfig, session: ExitStack | None = None) -> JobResult:
    """Run the job to its end.

    Queries are shared out over the parts by their ids; in each part, the only one up to `BUCKET_HITS` hits, they stand
    in the order of the first set, those that only later sets have behind them.

    Args:
        config: see `FuseConfig`.
        session: takes over the Ray session, for what the caller does next; by default it ends with the job.

    Raises:
        StRayError: bad hits, output or resources, before Ray starts where that is possible; a set that has no query in
            common with another; ShardError if some shards failed (the others stay committed).
    """
    laps = Laps()
    _check_places(config)
    output = OutputFolder(config.output, KIND, beside=(PAGE,))
    output.check_usable()
    sets = tuple(open_hit_set(url) for url in config.hits)
    buckets = -(-sum(found.rows for found in sets) // BUCKET_HITS)
    lineage = _lineage(config, sets, buckets)
    finished = finished_before(config, output, lineage)
    if finished is not None:
        return finished
    with begun(config, output, lineage, laps, session) as (lock, writer):
        run = _Run(config, sets, buckets, output, lock)
        staged, split = run.split()
        laps.end("split")
        result = run.fuse(staged, writer)
        laps.end("fuse")
        counts = _counts(result.entries)
        _check_shared(sets, counts, output)
        figures = {
            "shards_done_before": result.done_before,
            "hits": result.rows,
            "seconds_of": laps.seconds,
            "seconds": round(sum(laps.seconds.values()), 3),
        }
        manifest = Manifest(KIND, lineage, result.entries, _about(config, counts), figures)
        done = JobResult(manifest, output.folder)
        write_report(config, done, fuse_facts(done), laps.seconds, [split, result])
        output.finish(manifest)
    return done


@dataclass(frozen=True)
class _Run:
    """What is settled before the first shard."""

    config: FuseConfig
    sets: tuple[HitSet, ...]
    buckets: int
    output: OutputFolder
    lock: OutputLock

    def split(self) -> tuple[dict[str, list[tuple[str, ShardEntry]]], StageResult]:
        """The files of each set, split into buckets, with their entries: an output of its own that is staged."""
        groups = [(found.url, group) for found in self.sets for group in group_parts(found.parts, BUCKET_HITS)]
        folder = OutputFolder(fs.join(self.output.folder, STAGING, _SPLIT), "hits in buckets")
        writer = folder.begin({"hits": [found.digest for found in self.sets], "bucket_hits": BUCKET_HITS})
        meter = Meter()
        stage = self._stage(
            label=_SPLIT,
            tasks=[group for _, group in groups],
            rows=[sum(part.rows for part in group) for _, group in groups],
            finish=SplitParts(self.buckets, meter.client()),
            suffix=SUFFIX,
            describe=lambda group: group[0].place + (f" and {len(group) - 1} more" if len(group) > 1 else ""),
        )
        result = run_stage(stage, folder, writer, self.lock, meter)
        files: dict[str, list[tuple[str, ShardEntry]]] = {}
        for (url, _), entry in zip(groups, result.entries, strict=True):
            files.setdefault(url, []).append((writer.part_url(entry.name), entry))
        return files, result

    def fuse(self, staged: Mapping[str, list[tuple[str, ShardEntry]]], writer: Writer) -> StageResult:
        """The parts of the result."""
        config = self.config
        entries = [entry for files in staged.values() for _, entry in files]
        meter = Meter()
        # How many hits a bucket really has is known when it has been read.
        bounds = np.arange(self.buckets + 1) * sum(entry.rows for entry in entries) // self.buckets
        stage = self._stage(
            label="fuse",
            tasks=range(self.buckets),
            rows=np.diff(bounds).tolist(),
            finish=FuseBucket(
                files={name: [url for url, _ in files] for name, files in staged.items()},
                strings=[name for name in ID_COLUMNS if any(entry.figures.get(name) for entry in entries)],
                fusion=config.fusion(),
                format=config.format,
                meter=meter.client(),
            ),
            suffix=SUFFIXES[config.format],
            describe=lambda bucket: f"bucket {bucket} of {self.buckets}",
        )
        return run_stage(stage, self.output, writer, self.lock, meter)

    def _stage(self, tasks: Sequence[Any], **fields: Any) -> Stage:
        """A stage of one step, which may have all CPUs."""
        plan = plan_actors(
            cluster_nodes(),
            shards=len(tasks),
            actor_bytes=_TASK_BYTES,
            actors=self.config.actors,
            gpus_per_actor=0.0,
            cpus_per_actor=self.config.cpus_per_actor,
            can_grow=cluster_can_grow(),
        )
        return Stage(
            tasks=tasks,
            writers=plan.maximum,
            writer_cpus=plan.cpus,
            noun="hits",
            **fields,
        )


def _check_places(config: FuseConfig) -> None:
    """Raise ConfigError where a place is named twice; --overwrite would remove hits before they are read."""
    named: dict[str, str] = {}
    for flag, url in (("--output", config.output), *(("--hits", url) for url in config.hits)):
        place = fs.open_fs(url)[1].rstrip("/")
        if place in named:
            raise ConfigError(f"{url} is named by {named[place]} and again by {flag}", "name each place once")
        named[place] = flag


def _lineage(config: FuseConfig, sets: Sequence[HitSet], buckets: int) -> Lineage:
    fusion = config.fusion()
    how = {"rrf_k": fusion.rrf_k} if fusion.method == "rrf" else {"normalize": fusion.normalize}
    return {
        "hits": [found.digest for found in sets],
        "method": fusion.method,
        "weights": list(fusion.weights),
        **how,
        "top_k": fusion.top_k,
        "format": config.format,
        "buckets": buckets,
    }


def _counts(entries: Sequence[ShardEntry]) -> dict[str, int]:
    """The figures of all parts, added up."""
    return {name: int(sum(entry.figures[name] for entry in entries)) for name in entries[0].figures}


def _about(config: FuseConfig, counts: Mapping[str, int]) -> dict[str, Any]:
    """What a reader of the hits wants to know."""
    fusion, numbers = config.fusion(), range(1, len(config.hits) + 1)
    rrf = f"sums of weight / ({fusion.rrf_k} + rank)"
    weighted = f"sums of weight x score ({fusion.normalize})"
    return {
        "format": config.format,
        "scores": rrf if fusion.method == "rrf" else weighted,
        "fused": list(config.hits),
        "queries": counts["queries"],
        "hits_read": counts["read"],
        "hits_found_by": [counts[f"found by {number}"] for number in numbers],
        "queries_missing": [counts[f"missing in {number}"] for number in numbers],
    }


def _check_shared(sets: Sequence[HitSet], counts: Mapping[str, int], output: OutputFolder) -> None:
    """Raise InputError, and leave no output behind, where a set has no query in common with another."""
    alone = [number for number, _ in enumerate(sets) if not counts[f"shared by {number + 1}"]]
    if not alone:
        return
    one, other = sets[alone[0]], sets[alone[0] - 1]
    error = InputError(
        f"no query of {one.url} is in another set: it has {_example(one)}, {other.url} has {_example(other)}",
        "name hits of the same queries, with the same ids",
    )
    output.clear()  # so that the next try, with other hits, is not refused for its lineage
    raise error


def _example(found: HitSet) -> str:
    for part in found.parts:
        queries = part.read()["query_id"]
        if len(queries):
            return f"queries such as {queries[0].as_py()!r}"
    return "none at all"
