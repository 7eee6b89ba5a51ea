"""Check everything, stage the texts of all pairs, score them in actors, publish the ranked hits."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from st_ray.core.errors import ConfigError, StRayError
from st_ray.runtime.clock import Laps
from st_ray.runtime.compute import Compute, actors_for
from st_ray.runtime.corpus import flags_of_a_corpus
from st_ray.runtime.cross_encoding.model import injected_scorer, inspect_cross_encoder, require_one_label
from st_ray.runtime.cross_encoding.stage import SHARD_PAIRS, Scoring, least_correlation, scoring_figures
from st_ray.runtime.cross_encoding.steps import ScorerLoader
from st_ray.runtime.joining import job_session
from st_ray.runtime.meter import Meter
from st_ray.runtime.model_facts import ModelFacts
from st_ray.runtime.report.page import PAGE, laps_with, write_report
from st_ray.runtime.report.scores import score_sections
from st_ray.runtime.rerank.candidates import CandidateRequest, Candidates, prepare_candidates
from st_ray.runtime.rerank.config import RerankConfig
from st_ray.runtime.rerank.steps import RankHits, ReadPairs, ReadSomePairs
from st_ray.runtime.rerank.summary import rerank_facts
from st_ray.runtime.result import JobResult
from st_ray.runtime.session import data_context
from st_ray.runtime.stage import Stage, run_stage
from st_ray.runtime.stage_result import StageResult
from st_ray.runtime.texts_by_id.staged import text_request
from st_ray.store import fs
from st_ray.store.hit_sets import open_hit_set
from st_ray.store.hits import KIND, SUFFIXES
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder

TEXTS = "texts.json"
"""File of the output that says which texts its parts were made from."""


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
    output = OutputFolder(config.output, KIND, beside=(TEXTS, PAGE))
    output.check_usable()
    _check_places(config)
    model = _model(config, loader)
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
        (session or stack).enter_context(job_session(config))
        data_context(config.debug)
        laps.end("Ray")
        gpu = actors_for(config, compute, 1, model.actor_bytes).gpus > 0
        compute = model.settled_compute(config, compute)
        request = replace(request, shard_pairs=request.shard_pairs or SHARD_PAIRS["cuda" if gpu else "cpu"])
        lineage = _lineage(config, request, model, compute)
        writer = output.begin(lineage)
        try:
            candidates = prepare_candidates(request, output.folder, lock)
        except StRayError:
            if begun is None:
                output.clear()  # so that mended flags do not meet the old ones
            raise
        output.settle_inputs(TEXTS, {name: candidates.lineage[name] for name in ("queries", "corpus")})
        laps.end("texts")
        if finished is not None:
            output.finish(finished)  # what was staged to compare the texts goes
            return JobResult(finished, output.folder, already_complete=True)
        run = _Run(config, candidates, model)
        actors = actors_for(config, compute, len(candidates.shards), model.actor_bytes)
        scoring = Scoring(config, model, compute, actors, meter := Meter())
        result = run_stage(run.stage(scoring), output, writer, lock, meter)
        manifest = Manifest(
            kind=KIND,
            lineage={**lineage, **candidates.lineage},
            entries=result.entries,
            about={**run.about(result), "stamps": request.stamps},
            run={
                **scoring_figures(result, actors, meter.read(), laps.seconds),
                "rerank_seconds": round(result.seconds, 3),
            },
        )
        done = JobResult(manifest, output.folder)
        of_run = laps_with(laps.seconds, result)
        write_report(config, done, rerank_facts(done), of_run, [result], score_sections(result))
        output.finish(manifest)
    return done


def _model(config: RerankConfig, loader: ScorerLoader | None) -> ModelFacts[ScorerLoader]:
    if loader is not None:
        return injected_scorer(config, loader)
    model, labels = inspect_cross_encoder(config, config.cross_encoder)
    require_one_label(config.cross_encoder, labels, "hits are ranked by one score")
    return model


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
        actors=config.actors,
    )


def _lineage(
    config: RerankConfig, request: CandidateRequest, model: ModelFacts[ScorerLoader], compute: Compute
) -> Lineage:
    # Which texts they are is settled once they have been read.
    pairs = request.lineage({"queries": TEXTS, "corpus": TEXTS})
    return {
        **pairs,
        **model.settings,
        **compute.settings,
        "top_k": config.top_k,
        "keep_retrieval_score": config.keep_retrieval_score,
        "format": config.format,
    }


@dataclass(frozen=True)
class _Run:
    """What is settled before the first shard."""

    config: RerankConfig
    candidates: Candidates
    model: ModelFacts[ScorerLoader]

    def stage(self, scoring: Scoring) -> Stage:
        """The work on the shards."""
        config, shards = self.config, self.candidates.shards
        return Stage(
            label="rerank",
            tasks=shards,
            rows=[shard.pairs for shard in shards],
            connect=scoring.connect(
                ReadPairs(scoring.loader, self.model.prompt), ReadSomePairs(shards, self.model.prompt)
            ),
            finish=RankHits(config.top_k, config.keep_retrieval_score, config.format),
            writers=scoring.writers,
            suffix=SUFFIXES[config.format],
            describe=lambda shard: f"pairs {shard.first_pair:,} to {shard.first_pair + shard.pairs - 1:,}",
            noun="pairs",
        )

    def about(self, result: StageResult) -> dict[str, Any]:
        """What a reader of the hits wants to know."""
        config, candidates = self.config, self.candidates
        return {
            **self.model.about,
            "format": config.format,
            "scores": f"of the cross-encoder, {self.model.about['activation']} of its logits",
            "reranked": config.hits or "every pair of a query and a row of the corpus",
            "queries": candidates.queries,
            "pairs": candidates.pairs,
            "skipped": dict(candidates.skipped),
            "min_rank_correlation_to_float32": least_correlation(result.entries),
        }
