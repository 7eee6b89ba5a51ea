"""The job that evaluates cross-encoders: score the data's pairs, gather the scores' figures, write the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from st_ray.core.errors import ConfigError
from st_ray.core.page import Section, report_page
from st_ray.core.summary import computed
from st_ray.evaluation.report import Findings, csv_row, find_intervals, finite, sections
from st_ray.runtime.clock import Laps
from st_ray.runtime.cross_encoding.steps import ScorerLoader
from st_ray.runtime.evaluation.aggregate import evaluate
from st_ray.runtime.evaluation.config import EvaluateCrossEncoderConfig
from st_ray.runtime.evaluation.crew import crew_for
from st_ray.runtime.evaluation.output import EvaluationOutput
from st_ray.runtime.evaluation.scoring import PairScoring
from st_ray.runtime.evaluation.summary import counted_lines
from st_ray.runtime.report.page import run_sections
from st_ray.runtime.result import JobResult
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.scores import ScoreStore


def evaluate_cross_encoder(
    config: EvaluateCrossEncoderConfig, loader: ScorerLoader | None = None, session: ExitStack | None = None
) -> JobResult:
    """Run the job to its end.

    The output holds the scores (a folder that `--scores` takes), report.json, report.html, and the CSV file that the
    class of `st_ray.evaluation.evaluators` writes.

    Args:
        config: see `EvaluateCrossEncoderConfig`.
        loader: a scorer of the caller's own in place of a model folder's.
        session: takes over the Ray session, for what the caller does next; by default it ends with the job.

    Raises:
        StRayError: bad data, model, output or resources, before any model is loaded where that is possible;
            ShardError if some shards failed (the others stay committed).
    """
    laps = Laps()
    judge = config.judge
    given = _given_scores(config)
    with ExitStack() as stack:
        session = session or stack
        opened = EvaluationOutput.opened(
            config.output, _csv_name(config), _lineage(config, given), overwrite=config.overwrite
        )
        output = stack.enter_context(opened)
        if given is None:
            scored = output.scored(PairScoring(config, output.scores, loader).run, session)
            store = ScoreStore.of(scored.folder, scored.manifest)
            _require_fit(config, store)
        else:
            scored = output.scored(lambda session: JobResult(given.manifest, given.folder), session)
            store = given
        laps.end("scores")
        finished = output.finished()
        if finished is not None:
            return finished
        crew = crew_for(config, store, session)
        found = evaluate(judge, store.parts, crew, config.seed)
        laps.end("figures")
        findings = find_intervals(judge, found.state, found.figures, config.bootstrap, config.seed)
        laps.end("intervals")
        about = _about(config, store, findings)
        lineage = {**output.lineage, **store.manifest.lineage}
        page = _page(config, about, findings, run_sections(config, lineage, laps.seconds, scored.stages))
        laps.end("report")
        run = {"scoring": {} if given else dict(store.manifest.run), "seconds_of": laps.seconds}
        return output.finish(about, csv_row(judge.columns(found.figures)), page, run)


def _given_scores(config: EvaluateCrossEncoderConfig) -> ScoreStore | None:
    """What --scores names. Raises ConfigError where the evaluator needs others, or they lie in the output."""
    if config.scores is None:
        return None
    place, output = (fs.open_fs(url)[1].rstrip("/") + "/" for url in (config.scores, config.output))
    if place.startswith(output):
        raise ConfigError("--scores lies in --output, where it could be overwritten", "write to a new --output")
    store = ScoreStore.open(config.scores)
    _require_fit(config, store)
    return store


def _require_fit(config: EvaluateCrossEncoderConfig, store: ScoreStore) -> None:
    judge, documents = config.judge, config.of_documents
    store.require(config.evaluator, labels=judge.labels, several=judge.several_scores, samples=documents)


def _csv_name(config: EvaluateCrossEncoderConfig) -> str:
    name = f"_{config.name}" if config.name else ""
    return f"{config.judge.class_name}{name}_results{f'_@{config.at_k}' if config.of_documents else ''}.csv"


def _lineage(config: EvaluateCrossEncoderConfig, given: ScoreStore | None) -> Lineage:
    # The scores made here have a lineage of their own.
    how: dict[str, Any] = {"at_k": config.at_k} if config.of_documents else {}
    how |= {"threshold": config.threshold} if config.evaluator == "binary-accuracy" else {}
    return {
        "evaluator": config.evaluator,
        "name": config.name,
        **how,
        "bootstrap": config.bootstrap,
        "seed": config.seed,
        "scores": given.digest if given else None,
    }


def _about(config: EvaluateCrossEncoderConfig, store: ScoreStore, findings: Findings) -> dict[str, Any]:
    """The report."""
    made, state = store.manifest, findings.state
    sample = state.sample
    return {
        "evaluator": config.evaluator,
        "class": findings.judge.class_name,
        "name": config.name,
        "figures": finite(findings.own),
        "figures_in_latest_terms": finite(findings.latest),
        "intervals": finite(dict(findings.intervals)),
        "replicates": findings.replicates,
        "replicates_drawn_from": len(sample.rows) if sample.capacity else state.pairs,
        "pairs": state.pairs,
        "rows": made.about["rows"],
        "dropped": made.dropped,
        "counted": findings.judge.counted(state),
        "cross_encoder": made.about["cross_encoder"],
        "activation": made.about["activation"],
        "backend": made.lineage["backend"],
        "dtype": made.lineage["dtype"],
        "graph": made.lineage.get("graph"),
        "min_rank_correlation_to_float32": made.about["min_rank_correlation_to_float32"],
        "data": made.about["data"],
        "scores": store.folder,
        "scores_digest": store.digest,
        "scores_lineage": dict(made.lineage),
    }


def _page(
    config: EvaluateCrossEncoderConfig, about: Mapping[str, Any], findings: Findings, of_run: Iterable[Section]
) -> bytes:
    title = f"{config.judge.class_name}{f': {config.name}' if config.name else ''}"
    return report_page(title, _facts(config, about), [*sections(findings), *of_run])


def _facts(config: EvaluateCrossEncoderConfig, about: Mapping[str, Any]) -> dict[str, str]:
    facts = {
        "model": f"{about['cross_encoder']}, {about['activation']} of its logits",
        "computed": computed(about),
        "data": ", ".join(about["data"]),
        "pairs": f"{about['pairs']:,}",
    }
    facts |= counted_lines(about)
    if config.evaluator == "binary-accuracy":
        facts["threshold"] = f"{config.threshold:g}"
    if config.of_documents:
        facts["ranks looked at"] = f"{config.at_k}"
    if about["dropped"]:
        facts["left out"] = "; ".join(f"{count:,} rows: {reason}" for reason, count in about["dropped"].items())
    return facts
