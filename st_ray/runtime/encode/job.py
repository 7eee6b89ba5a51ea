"""Check everything, plan, run the stage, publish the manifest."""

from __future__ import annotations

import functools
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import ray.data

from st_ray.runtime import pipeline
from st_ray.runtime.corpus import Corpus, ScanRequest, prepare_corpus, stamps_digest
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.model import ModelFacts, injected_model, inspect_model
from st_ray.runtime.encode.steps import Encode, EncoderLoader, MakePart, ReadAndTokenize
from st_ray.runtime.meter import Meter
from st_ray.runtime.resources import ActorPlan, cluster_can_grow, cluster_nodes, plan_actors
from st_ray.runtime.session import data_context, ray_session
from st_ray.runtime.stage import Stage, StageResult, run_stage
from st_ray.store import fs
from st_ray.store.embeddings import KIND, part_dimension
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import Manifest
from st_ray.store.output import STAGING, OutputFolder
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.sources import resolve_inputs
from st_ray.store.readers.spec import ReadSpec


@dataclass(frozen=True)
class EncodeResult:
    """What a run left: the manifest, where it lies, and whether there was nothing to do."""

    manifest: Manifest
    folder: str
    already_complete: bool = False


def encode(config: EncodeConfig, loader: EncoderLoader | None = None) -> EncodeResult:
    """Run the job to its end.

    Args:
        config: see `EncodeConfig`.
        loader: an encoder of the caller's own in place of a model folder's.

    Raises:
        StRayError: bad input, model, output or resources, before any model is loaded where that is possible;
            ShardError if some shards failed (the others stay committed).
    """
    begun = time.monotonic()
    output = OutputFolder(config.output, KIND)
    output.check_usable()
    model = injected_model(config, loader) if loader else inspect_model(config)
    request = _scan_request(config, output)
    finished = None if config.overwrite else _finished(output, config, request, model)
    if finished is not None:
        return EncodeResult(finished, output.folder, already_complete=True)
    with ExitStack() as stack:
        lock = stack.enter_context(output.lock())
        if config.overwrite:
            output.clear()
        if not request.small:
            stack.enter_context(ray_session(config.address, debug=config.debug))
        corpus = prepare_corpus(request)
        lineage = _lineage(config, request, model, corpus.digest)
        writer = output.begin(lineage)
        stack.enter_context(ray_session(config.address, debug=config.debug))
        data_context(config.debug)
        actors = _plan_actors(config, len(corpus.shards), model.actor_bytes)
        meter = Meter()
        ready = time.monotonic()
        result = run_stage(_stage(config, corpus, model, actors, meter), output, writer, lock, meter)
        manifest = Manifest(
            kind=KIND,
            lineage=lineage,
            entries=result.entries,
            about={
                **model.about,
                "dimension": part_dimension(output.folder, result.entries[0]),
                "source_rows": corpus.rows,
                "input_stamps": corpus.stamps,
            },
            run=_figures(result, meter.read(), actors, ready - begun),
        )
        output.finish(manifest)
    return EncodeResult(manifest, output.folder)


def _scan_request(config: EncodeConfig, output: OutputFolder) -> ScanRequest:
    wanted = ReadSpec(
        id_column=config.id_column,
        text_columns=config.text_columns,
        columns=config.columns or None,
        quotes=config.quotes,
    )
    files, spec = resolve_inputs(config.input, wanted)
    return ScanRequest(
        files=tuple(files),
        spec=spec,
        shard_rows=config.shard_rows,
        staging=fs.join(output.folder, STAGING),
        on_bad_row=config.on_bad_row,
        check_ids=config.check_ids,
    )


def _finished(output: OutputFolder, config: EncodeConfig, request: ScanRequest, model: ModelFacts) -> Manifest | None:
    """The manifest of an output that needs no work, found without scanning the input again."""
    manifest = output.manifest()
    if manifest is None or manifest.about.get("input_stamps") != stamps_digest(request.files):
        return None
    output.check_lineage(_lineage(config, request, model, manifest.lineage["input"]))
    return manifest


def _lineage(config: EncodeConfig, request: ScanRequest, model: ModelFacts, input_digest: str) -> Lineage:
    return {
        "input": input_digest,
        "id_column": request.spec.id_column,
        "text_columns": list(request.spec.text_columns),
        "columns": list(request.spec.columns or ()),
        "quotes": request.spec.quotes,
        "on_bad_row": config.on_bad_row,
        "shard_rows": config.shard_rows,
        "keep_text": config.keep_text,
        **model.lineage,
    }


def _plan_actors(config: EncodeConfig, shards: int, actor_bytes: int) -> ActorPlan:
    return plan_actors(
        cluster_nodes(),
        shards=shards,
        actor_bytes=actor_bytes,
        actors=config.actors,
        gpus_per_actor=config.gpus_per_actor,
        cpus_per_actor=config.cpus_per_actor,
        can_grow=cluster_can_grow(),
    )


def _stage(config: EncodeConfig, corpus: Corpus, model: ModelFacts, actors: ActorPlan, meter: Meter) -> Stage:
    read = ReadAndTokenize(model.loader, corpus.spec, model.prompt, config.on_bad_row, config.keep_text)
    make_encoder = functools.partial(
        Encode, model.loader, actors.threads, config.normalize, config.batch_tokens, meter.client()
    )

    def connect(ds: ray.data.Dataset, careful: bool) -> ray.data.Dataset:
        ds = pipeline.map_tasks(ds, read, size=actors.readers, cpus=actors.reader_cpus)
        pool = actors.fitted(cluster_nodes()) if careful else actors
        return pipeline.map_actors(ds, make_encoder, pool, careful=careful)

    return Stage(
        label="encode",
        tasks=corpus.shards,
        rows=[shard.rows for shard in corpus.shards],
        connect=connect,
        finish=MakePart(),
        writers=max(1, actors.maximum // 2),
        describe=_describe,
    )


def _describe(shard: ShardPlan) -> str:
    return f"rows {shard.first_row:,} to {shard.first_row + shard.rows - 1:,}"


def _figures(result: StageResult, totals: dict[str, float], actors: ActorPlan, before_stage: float) -> dict[str, Any]:
    """Counts and rates of this run; rows that an earlier run had committed are not in them."""
    return {
        "actors": actors.maximum,
        "threads_per_actor": actors.threads,
        "gpus_per_actor": actors.gpus,
        "shards_done_before": result.done_before,
        "rows": result.rows,
        "repeated_texts": int(totals.get("repeated", 0)),
        "tokens": int(totals.get("tokens", 0)),
        "seconds_before_stage": round(before_stage, 3),
        "seconds_to_first_commit": round(before_stage + result.first_commit_seconds, 3),
        "seconds": round(before_stage + result.seconds, 3),
        "model_seconds": round(totals.get("seconds", 0.0), 3),
        "rows_per_second_after_first_commit": round(result.steady_rate, 1),
    }
