"""Check everything, plan, run the stage, publish the manifest."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from st_ray.core.errors import ShardError
from st_ray.runtime import pipeline
from st_ray.runtime.clock import Laps
from st_ray.runtime.compute import Compute, actors_for
from st_ray.runtime.config import LEAST_COSINE
from st_ray.runtime.corpus import Corpus, ScanRequest, prepare_corpus, reading_lineage, stamps_digest
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.encode.model import injected_model, inspect_model
from st_ray.runtime.encode.prepare import scan_request
from st_ray.runtime.encode.reference import (
    FOR_COSINE,
    FOR_RANGES,
    Reference,
    SampleSize,
    make_reference,
    measure_cosine,
    sample_ranges,
)
from st_ray.runtime.encode.reuse import Reused, check_same_embeddings, find_matches
from st_ray.runtime.encode.steps import Encode, EncoderLoader, MakePart, ReadAndTokenize, TokenEncoder
from st_ray.runtime.encode.summary import encode_facts
from st_ray.runtime.joining import job_session
from st_ray.runtime.meter import Meter
from st_ray.runtime.model_facts import ModelFacts
from st_ray.runtime.report.page import PAGE, laps_with, write_report
from st_ray.runtime.resources import ActorPlan
from st_ray.runtime.result import JobResult
from st_ray.runtime.session import data_context
from st_ray.runtime.stage import Stage, run_stage
from st_ray.runtime.stage_result import StageResult
from st_ray.runtime.work import CONVERSION
from st_ray.store import fs
from st_ray.store.embeddings import KIND, open_embeddings
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import Manifest
from st_ray.store.output import RANGES, STAGING, OutputFolder, Writer, part_name
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.reuse import OldStore


def encode(config: EncodeConfig, loader: EncoderLoader | None = None, session: ExitStack | None = None) -> JobResult:
    """Run the job to its end.

    Args:
        config: see `EncodeConfig`.
        loader: an encoder of the caller's own in place of a model folder's.
        session: takes over the Ray session, for what the caller does next; by default it ends with the job.

    Raises:
        StRayError: bad input, model, output or resources, before any model is loaded where that is possible;
            ShardError if some shards failed (the others stay committed).
    """
    laps = Laps()
    output = OutputFolder(config.output, KIND, beside=(PAGE,))
    output.check_usable()
    model = injected_model(config, loader) if loader else inspect_model(config)
    request = scan_request(config, fs.join(output.folder, STAGING))
    reused = open_embeddings(config.reuse) if config.reuse else None
    begun = None if config.overwrite else output.begun_lineage()
    compute = model.begun_compute(config, begun or (reused.lineage if reused else None))
    if reused is not None and compute is not None:
        check_same_embeddings(str(config.reuse), reused.lineage, _made_by(model, compute))
    finished = None if config.overwrite or compute is None else _finished(output, config, request, model, compute)
    if finished is not None:
        return JobResult(finished, output.folder, already_complete=True)
    with ExitStack() as stack:
        lock = stack.enter_context(output.lock())
        if config.overwrite:
            output.clear()
        if not request.small:
            laps.end("input and model")
            (session or stack).enter_context(job_session(config))
            laps.end("Ray")
        corpus = prepare_corpus(request)
        if compute is not None:
            output.check_lineage(_lineage(config, request, model, compute, corpus.digest))
        laps.end("input and model")
        (session or stack).enter_context(job_session(config))
        data_context(config.debug)
        laps.end("Ray")
        compute = model.settled_compute(config, compute)
        actors = actors_for(config, compute, len(corpus.shards), model.actor_bytes)
        lineage = _lineage(config, request, model, compute, corpus.digest)
        writer = output.begin(lineage)
        run = _Run(config, corpus, model, compute, reused)
        ranges = run.ranges(output)
        old = run.old_rows(output, writer)
        meter = Meter()
        laps.end("plan")
        try:
            result = run_stage(run.stage(actors, ranges, old, meter), output, writer, lock, meter)
        except ShardError:
            if old is not None:
                old.wait()  # what is wrong with the older store is wrong for all shards: better said once
            raise
        manifest = Manifest(
            kind=KIND,
            lineage=lineage,
            entries=result.entries,
            about={**model.about, **_measured(result, reused), "ranges": ranges, **_source(corpus)},
            run={**_figures(result, meter.read(), actors, laps.seconds), **(old.found() if old else {})},
        )
        done = JobResult(manifest, output.folder)
        write_report(config, done, encode_facts(done), laps_with(laps.seconds, result), [result])
        output.finish(manifest)
    return done


def _finished(
    output: OutputFolder, config: EncodeConfig, request: ScanRequest, model: ModelFacts[EncoderLoader], compute: Compute
) -> Manifest | None:
    """The manifest of an output that needs no work, found without scanning the input again."""
    manifest = output.manifest()
    if manifest is None or manifest.about.get("input_stamps") != stamps_digest(request.files):
        return None
    output.check_lineage(_lineage(config, request, model, compute, manifest.lineage["input"]))
    return manifest


def _lineage(
    config: EncodeConfig, request: ScanRequest, model: ModelFacts[EncoderLoader], compute: Compute, input_digest: str
) -> Lineage:
    return {
        "input": input_digest,
        **reading_lineage(request.spec, config.on_bad_row),
        "shard_rows": config.shard_rows,
        "keep_text": config.keep_text,
        **_made_by(model, compute),
    }


def _made_by(model: ModelFacts[EncoderLoader], compute: Compute) -> Lineage:
    """What makes an embedding out of a text."""
    return {**model.settings, **compute.settings}


@dataclass(frozen=True)
class _Run:
    """What is settled before the first shard: flags, input, model, how it is computed, and the store to reuse."""

    config: EncodeConfig
    corpus: Corpus
    model: ModelFacts[EncoderLoader]
    compute: Compute
    reused: Manifest | None

    def sample(self, size: SampleSize, threads: int | None) -> Callable[[], Reference]:
        """Makes the `Reference`, with an encoder of so many threads."""
        loader = self.model.loader_for(self.compute.reference)
        given = (self.corpus.shards, self.corpus.spec, self.model.prompt, self.config.seed)
        return functools.partial(make_reference, loader, *given, size, threads)

    def ranges(self, output: OutputFolder) -> list[list[float]] | None:
        """Of int8 and uint8, `[2, d]`: the output's where it was begun, the reused store's, or those of a sample."""
        if self.config.precision not in ("int8", "uint8"):
            return None

        def make() -> list[list[float]] | None:
            if self.reused is not None:
                return self.reused.about["ranges"]
            return sample_ranges(
                pipeline.result_of(pipeline.alone(self.sample(FOR_RANGES, None))), self.config.normalize
            )

        return output.settle(RANGES, make)

    def old_rows(self, output: OutputFolder, writer: Writer) -> Reused | None:
        """The store to take rows from, for the shards that are missing."""
        if self.reused is None:
            return None
        old = OldStore(str(self.config.reuse), self.reused.entries, fs.join(output.folder, STAGING, "reuse"))
        committed = output.committed(writer)
        shards = self.corpus.shards
        named = [(part_name(shard.number, len(shards)), shard) for shard in shards]
        todo = [(name, shard) for name, shard in named if name not in committed]
        return find_matches(old, todo, not committed, self.corpus.spec, self.config.on_bad_row)

    def stage(self, actors: ActorPlan, ranges: list[list[float]] | None, old: Reused | None, meter: Meter) -> Stage:
        """The work on the shards."""
        config, corpus = self.config, self.corpus
        loader = self.model.loader_for(self.compute)
        store, wait = (old.store, old.wait) if old else (None, None)
        read = ReadAndTokenize(loader, corpus.spec, self.model.prompt, config.on_bad_row, config.keep_text, store, wait)
        measure = None
        if not self.compute.exact:
            reference = pipeline.known_to(actors, self.sample(FOR_COSINE, actors.threads))
            measure = functools.partial(_measure, reference, config.least_agreement("min_cosine", LEAST_COSINE))
        make_encoder = functools.partial(
            Encode, loader, actors.threads, config.normalize, config.batch_tokens, meter.client(), measure
        )

        return Stage(
            label="encode",
            tasks=corpus.shards,
            rows=[shard.rows for shard in corpus.shards],
            connect=pipeline.TasksThenActors(read, make_encoder, actors),
            finish=MakePart(config.precision, ranges, store),
            # Where rows are copied from an older store, that is most of the work.
            writers=max(1, actors.maximum if old else actors.maximum // 2),
            describe=_describe,
        )


def _measure(reference: Callable[[], Reference], least: float, encoder: TokenEncoder) -> dict[str, float]:
    return {"cosine": measure_cosine(encoder, reference(), least)}


def _describe(shard: ShardPlan) -> str:
    return f"rows {shard.first_row:,} to {shard.first_row + shard.rows - 1:,}"


def _source(corpus: Corpus) -> dict[str, Any]:
    return {"source_rows": corpus.rows, "input_stamps": corpus.stamps}


def _measured(result: StageResult, reused: Manifest | None) -> dict[str, Any]:
    """What the actors found out about the embeddings."""
    dimensions, cosines = ([entry.figures.get(name) for entry in result.entries] for name in ("dimension", "cosine"))
    old = reused.about["min_cosine_to_float32"] if reused else None
    measured = [cosine for cosine in (*cosines, old) if cosine is not None]
    return {"dimension": dimensions[0], "min_cosine_to_float32": round(min(measured), 6) if measured else None}


def _figures(
    result: StageResult, totals: dict[str, float], actors: ActorPlan, start_up: dict[str, float]
) -> dict[str, Any]:
    """Counts and rates of this run; what an earlier run had committed is not in them."""
    before_stage = sum(start_up.values())
    counts = {name: int(sum(entry.figures[name] for entry in result.fresh)) for name in ("tokens", "repeated")}
    return {
        "actors": actors.maximum,
        "threads_per_actor": actors.threads,
        "gpus_per_actor": actors.gpus,
        "shards_done_before": result.done_before,
        "rows": result.rows,
        "repeated_texts": counts["repeated"],
        "tokens": counts["tokens"],
        "start_up_seconds": result.start_up(start_up, pipeline.step_name(Encode), totals.get(CONVERSION, 0.0)),
        "seconds": round(before_stage + result.seconds, 3),
        "model_seconds": round(totals.get("seconds", 0.0), 3),
        "rows_per_second_after_first_commit": round(result.steady_rate, 1),
    }
