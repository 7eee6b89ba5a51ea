"""Choose the recipe, train, fill the parts, join them, measure; each step is left alone where it was done before."""

from __future__ import annotations

import functools
from contextlib import ExitStack

from st_ray.index.output import KIND, MERGED, PLOT, TRAINED, about_of, spec_of
from st_ray.index.plot import curve_section, curve_svg
from st_ray.runtime.begin import begun, finished_before
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.build_index.fill import cut_parts
from st_ray.runtime.build_index.join import join_parts
from st_ray.runtime.build_index.recipe import Recipe
from st_ray.runtime.build_index.refresh import OldIndex, plan_refresh, recall_lost
from st_ray.runtime.build_index.steps import MATCHES, REFRESH, Steps
from st_ray.runtime.build_index.summary import build_index_facts
from st_ray.runtime.clock import Laps
from st_ray.runtime.report.page import PAGE, write_report
from st_ray.runtime.result import JobResult
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder

_SPEC = "spec.json"


def build_index(config: BuildIndexConfig, session: ExitStack | None = None) -> JobResult:
    """Run the job to its end.

    Args:
        config: see `BuildIndexConfig`.
        session: takes over the Ray session, for what the caller does next; by default it ends with the job.

    Raises:
        StRayError: embeddings, flags, output or resources that do not do, before any training where that is possible;
            ShardError if some parts failed (the others stay committed).
    """
    laps = Laps()
    output = OutputFolder(config.output, KIND, beside=(_SPEC, REFRESH, TRAINED, MERGED, PLOT, PAGE))
    output.check_usable()
    store = StoredVectors.open(config.embeddings)
    probes_store = StoredVectors.open(config.tune_queries) if config.tune_queries else None
    old = OldIndex.open(config.refresh, store) if config.refresh else None
    recipe = Recipe(config, store, old)
    recipe.check()
    lineage = _lineage(recipe, probes_store)
    finished = finished_before(config, output, lineage)
    if finished is not None:
        return finished
    with begun(config, output, lineage, laps, session) as (lock, writer):
        spec = spec_of(output.settle(_SPEC, lambda: about_of(recipe.choose())))
        spec.check_rows(store.rows, store.folder)
        tasks = cut_parts(store.rows, spec, config.part_rows)
        refresh = None
        if old is not None:
            matches, auto = fs.join(output.folder, MATCHES), config.factory == "auto"
            plan = functools.partial(plan_refresh, old, store, spec, tasks, matches, auto)
            refresh = output.settle(REFRESH, plan)
            laps.end("compare")
        steps = Steps(config, store, spec, tasks, output, writer, lock, old, refresh)
        built = steps.build(probes_store, laps)
        if steps.refreshed and (lost := recall_lost(steps.refreshed, built.curve, config.recall_at)):
            steps = steps.anew(lost)
            built = steps.build(probes_store, laps)
        curve = built.curve
        merged = join_parts(output.folder, built.parts.entries, spec, config.merge, curve.chosen if curve else None)
        laps.end("merge")
        manifest = Manifest(
            kind=KIND,
            lineage=lineage,
            entries=built.parts.entries,
            about={
                **about_of(spec),
                "embeddings": store.folder,
                "rows": store.rows,
                "merged": MERGED if merged else None,
                "parameter": curve.chosen if curve else None,
                "trained_on": built.trained_on,
                "recall_at": config.recall_at,
                "target_recall": config.target_recall,
                "curve": curve.to_json() if curve else None,
                "refresh": steps.refresh,
            },
            run={"seconds": laps.seconds, "parts_done_before": built.parts.done_before},
        )
        lock.require_held(output.folder)
        own = []
        if curve and curve.points:
            title = f"{spec.factory}, {store.rows:,} x {store.dimension}: recall@{config.recall_at} and latency"
            fs.write_atomic(fs.join(output.folder, PLOT), curve_svg(curve, title))
            own.append(curve_section(curve, spec.search_parameter))
        done = JobResult(manifest, output.folder)
        write_report(config, done, build_index_facts(done), laps.seconds, [built.parts], own)
        output.finish(manifest)
    return done


def _lineage(recipe: Recipe, probes: StoredVectors | None) -> Lineage:
    config, store, old = recipe.config, recipe.store, recipe.old
    names = ("factory", "memory_gib", "target_recall", "recall_at", "tune_rows", "merge", "train_rows", "part_rows")
    return {
        "embeddings": store.digest,
        "similarity": "hamming" if store.is_binary else recipe.similarity,
        **{name: getattr(config, name) for name in (*names, "seed")},
        "tune_queries": probes.digest if probes else None,
        **({"refresh": old.index.digest} if old else {}),
    }
