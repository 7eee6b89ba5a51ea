"""Check everything, stage the texts of all pairs, score them in actors, publish the ranked hits."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ray

from st_ray.core.errors import ConfigError, OutputError, StRayError
from st_ray.runtime import pipeline
from st_ray.runtime.clock import Laps
from st_ray.runtime.compute import Compute, actors_for
from st_ray.runtime.corpus import flags_of_a_corpus
from st_ray.runtime.meter import Meter
from st_ray.runtime.model_facts import ModelFacts
from st_ray.runtime.rerank.candidates import CandidateRequest, Candidates, prepare_candidates, text_request
from st_ray.runtime.rerank.config import RerankConfig
from st_ray.runtime.rerank.model import injected_scorer, inspect_cross_encoder
from st_ray.runtime.rerank.reference import make_pair_reference, measure_correlation
from st_ray.runtime.rerank.steps import PairScorer, RankHits, ReadPairs, ScorePairs, ScorerLoader
from st_ray.runtime.resources import ActorPlan, cluster_nodes
from st_ray.runtime.result import JobResult
from st_ray.runtime.session import data_context, ray_session
from st_ray.runtime.stage import Stage, StageResult, run_stage
from st_ray.store import fs
from st_ray.store.hit_sets import open_hit_set
from st_ray.store.hits import KIND, SUFFIXES
from st_ray.store.lineage import Lineage, lineage_differences
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder

if TYPE_CHECKING:
    import ray.data

TEXTS = "texts.json"
"""File of the output that says which texts its parts were made from."""
_SHARD_PAIRS = {"cuda": 20_000, "cpu": 1_000}
"""Some seconds of work: less would cost more than it is worth to hand out, more would be lost with an actor."""


def rerank(config: RerankConfig, loader: ScorerLoader | None = None, session: ExitStack | None = None) -> JobResult:
    """Run the job to its end.

    Args:
        config: see `RerankConfig`.
        loader: a scorer of the caller's own in place of a model folder's.
        session: takes over the Ray session, for what the caller does next; by default it ends with the job.

    Raises:
        StRayError: bad hits, texts, model, output or resources, before any model is loaded; ShardError if some shards
            failed (the others stay committed).
    """
    laps = Laps()
    output = OutputFolder(config.output, KIND, beside=(TEXTS,))
    output.check_usable()
    _check_places(config)
    model = injected_scorer(config, loader) if loader else inspect_cross_encoder(config)
    begun = None if config.overwrite else output.begun_lineage()
    request = _request(config, output.folder, begun or {})
    compute = model.begun_compute(config, begun)
    finished = None if config.overwrite or compute is None else output.manifest()
    if finished is not None and compute is not None and finished.about["stamps"] == request.stamps:
        output.check_lineage(_lineage(config, request, model, compute))
        return JobResult(finished, output.folder, already_complete=True)
    with ExitStack() as stack:
        lock = stack.enter_context(output.lock())
        if config.overwrite:
            output.clear()
        laps.end("input and model")
        (session or stack).enter_context(ray_session(config.address, debug=config.debug))
        data_context(config.debug)
        laps.end("Ray")
        gpu = actors_for(config, compute, 1, model.actor_bytes).gpus > 0
        compute = compute or model.choose_compute(config, gpu=gpu, nodes=cluster_nodes())
        request = replace(request, shard_pairs=request.shard_pairs or _SHARD_PAIRS["cuda" if gpu else "cpu"])
        lineage = _lineage(config, request, model, compute)
        writer = output.begin(lineage)
        try:
            candidates = prepare_candidates(request, output.folder, lock)
        except StRayError:
            if begun is None:
                output.clear()  # so that mended flags do not meet the old ones
            raise
        _check_texts(output, candidates)
        laps.end("texts")
        if finished is not None:
            output.finish(finished)  # what was staged to compare the texts goes
            return JobResult(finished, output.folder, already_complete=True)
        run = _Run(config, candidates, model, compute)
        actors = actors_for(config, compute, len(candidates.shards), model.actor_bytes)
        meter = Meter()
        result = run_stage(run.stage(actors, meter), output, writer, lock, meter)
        manifest = Manifest(
            kind=KIND,
            lineage={**lineage, **candidates.lineage},
            entries=result.entries,
            about={**run.about(result), "stamps": request.stamps},
            run=_figures(result, meter.read(), actors, laps.seconds),
        )
        output.finish(manifest)
    return JobResult(manifest, output.folder)


def _check_places(config: RerankConfig) -> None:
    if config.hits is not None and fs.open_fs(config.hits)[1].rstrip("/") == fs.open_fs(config.output)[1].rstrip("/"):
        raise ConfigError("--hits names the output itself", "write to a new --output")


def _request(config: RerankConfig, folder: str, begun: Mapping[str, Any]) -> CandidateRequest:
    """What is to be paired; `shard_pairs` is 0 where only the machines can tell."""
    queries = text_request(config.queries, config.read_spec(), config.on_bad_row, folder)
    with flags_of_a_corpus():
        corpus = text_request(config.corpus, config.corpus_read_spec(config.quotes), config.on_bad_row, folder)
    return CandidateRequest(
        queries=queries,
        corpus=corpus,
        hits=None if config.hits is None else open_hit_set(config.hits),
        document_column=config.document_column,
        shard_pairs=config.shard_pairs or begun.get("shard_pairs", 0),
    )


def _lineage(
    config: RerankConfig, request: CandidateRequest, model: ModelFacts[ScorerLoader], compute: Compute
) -> Lineage:
    # Which texts they are is settled once they have been read.
    pairs = request.lineage({"queries": TEXTS, "corpus": TEXTS})
    return {
        **pairs,
        **model.settings,
        "backend": compute.backend,
        "dtype": compute.dtype,
        "top_k": config.top_k,
        "keep_retrieval_score": config.keep_retrieval_score,
        "format": config.format,
    }


def _check_texts(output: OutputFolder, candidates: Candidates) -> None:
    """Raise OutputError where parts may have been made from other texts."""
    now = {name: candidates.lineage[name] for name in ("queries", "corpus")}
    differences = lineage_differences(output.settle(TEXTS, lambda: now), now)
    if differences:
        raise OutputError(
            f"the texts have changed since {output.folder} was begun:\n     " + "\n     ".join(differences),
            "name another --output, or start again with --overwrite",
        )


@dataclass(frozen=True)
class _Run:
    """What is settled before the first shard."""

    config: RerankConfig
    candidates: Candidates
    model: ModelFacts[ScorerLoader]
    compute: Compute

    def stage(self, actors: ActorPlan, meter: Meter) -> Stage:
        """The work on the shards."""
        config, shards = self.config, self.candidates.shards
        loader = self.model.loader_for(self.compute)
        read = ReadPairs(loader, self.model.prompt)
        measure = None
        if self.compute.dtype != "float32":
            measure = functools.partial(_measure, self._reference(), config.min_correlation)
        make = functools.partial(ScorePairs, loader, actors.threads, config.batch_tokens, meter.client(), measure)

        def connect(ds: ray.data.Dataset, careful: bool) -> ray.data.Dataset:
            ds = pipeline.map_tasks(ds, read, size=actors.readers, cpus=actors.reader_cpus)
            pool = actors.fitted(cluster_nodes()) if careful else actors
            return pipeline.map_actors(ds, make, pool, careful=careful)

        return Stage(
            label="rerank",
            tasks=shards,
            rows=[shard.pairs for shard in shards],
            connect=connect,
            finish=RankHits(config.top_k, config.keep_retrieval_score, config.format),
            writers=max(1, actors.maximum // 2),
            suffix=SUFFIXES[config.format],
            describe=lambda shard: f"pairs {shard.first_pair:,} to {shard.first_pair + shard.pairs - 1:,}",
            noun="pairs",
        )

    def _reference(self) -> Any:
        """A Ray object that will be the `PairReference`; it holds no CPU, so that it never waits for one."""
        task = ray.remote(make_pair_reference).options(num_cpus=0)
        loader = self.model.loader_for(Compute(self.compute.backend, "float32"))
        return task.remote(loader, self.candidates.shards, self.model.prompt, self.config.seed)

    def about(self, result: StageResult) -> dict[str, Any]:
        """What a reader of the hits wants to know."""
        config, candidates = self.config, self.candidates
        measured = [entry.figures["correlation"] for entry in result.entries if "correlation" in entry.figures]
        return {
            **self.model.about,
            "format": config.format,
            "scores": f"of the cross-encoder, {self.model.about['activation']} of its logits",
            "reranked": config.hits or "every pair of a query and a row of the corpus",
            "queries": candidates.queries,
            "pairs": candidates.pairs,
            "skipped": dict(candidates.skipped),
            "min_rank_correlation_to_float32": round(min(measured), 6) if measured else None,
        }


def _measure(reference: Any, least: float, scorer: PairScorer) -> dict[str, float]:
    return {"correlation": measure_correlation(scorer, pipeline.result_of(reference), least)}


def _figures(
    result: StageResult, totals: Mapping[str, float], actors: ActorPlan, start_up: dict[str, float]
) -> dict[str, Any]:
    """Counts and rates of this run; what an earlier run had committed is not in them."""
    # Of few shards, all are nearly done when the first one is.
    many = len(result.fresh) > 4 * actors.maximum
    rate = result.steady_rate if many else result.rows / max(result.seconds, 1e-9)
    return {
        "actors": actors.maximum,
        "threads_per_actor": actors.threads,
        "gpus_per_actor": actors.gpus,
        "shards_done_before": result.done_before,
        "pairs": result.rows,
        "tokens": int(sum(entry.figures["tokens"] for entry in result.fresh)),
        "start_up_seconds": {**start_up, "first shard": round(result.first_commit_seconds, 2)},
        "seconds": round(sum(start_up.values()) + result.seconds, 3),
        "rerank_seconds": round(result.seconds, 3),
        "model_seconds": round(totals.get("seconds", 0.0), 3),
        "pairs_per_second": round(rate, 1),
    }
