"""The job that evaluates bi-encoders: how the similarities of pairs correlate with gold scores."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from st_ray.core.page import Section, report_page
from st_ray.core.summary import computed
from st_ray.evaluation.report import Findings, csv_row, figure_table, find_intervals, finite, sections
from st_ray.evaluation.score_judges import Correlation
from st_ray.runtime.clock import Laps
from st_ray.runtime.encode.steps import EncoderLoader
from st_ray.runtime.evaluation.aggregate import evaluate
from st_ray.runtime.evaluation.config import SIMILARITIES, EvaluateSimilarityConfig
from st_ray.runtime.evaluation.crew import crew_for
from st_ray.runtime.evaluation.output import EvaluationOutput
from st_ray.runtime.evaluation.similarity_scoring import SimilarityScoring
from st_ray.runtime.report.page import run_sections
from st_ray.runtime.result import JobResult
from st_ray.store.lineage import Lineage
from st_ray.store.scores import ScoreStore


def evaluate_similarity(
    config: EvaluateSimilarityConfig, loader: EncoderLoader | None = None, session: ExitStack | None = None
) -> JobResult:
    """Run the job to its end.

    Pearson's and Spearman's correlation with the gold scores of four similarities, as the EmbeddingSimilarityEvaluator
    of Sentence Transformers has them. The output holds the similarities, report.json, report.html and a CSV file.

    Args:
        config: see `EvaluateSimilarityConfig`.
        loader: an encoder of the caller's own in place of a model folder's.
        session: takes over the Ray session, for what the caller does next; by default it ends with the job.

    Raises:
        StRayError: bad data, model, output or resources, before any model is loaded where that is possible;
            ShardError if some shards failed (the others stay committed).
    """
    laps = Laps()
    with ExitStack() as stack:
        session = session or stack
        csv = f"similarity_evaluation{f'_{config.name}' if config.name else ''}_results.csv"
        opened = EvaluationOutput.opened(config.output, csv, _lineage(config), overwrite=config.overwrite)
        output = stack.enter_context(opened)
        scored = output.scored(SimilarityScoring(config, output.scores, loader).run, session)
        store = ScoreStore.of(scored.folder, scored.manifest)
        laps.end("scores")
        finished = output.finished()
        if finished is not None:
            return finished
        crew, judge = crew_for(config, store, session), Correlation()
        found = {name: evaluate(judge, store.parts_of(name), crew, config.seed) for name in SIMILARITIES}
        laps.end("figures")
        findings = {
            name: find_intervals(judge, one.state, one.figures, config.bootstrap, config.seed)
            for name, one in found.items()
        }
        laps.end("intervals")
        about = _about(config, store, findings)
        lineage = {**output.lineage, **store.manifest.lineage}
        page = _page(config, about, findings, run_sections(config, lineage, laps.seconds, scored.stages))
        laps.end("report")
        row = {f"{name}_{figure}": one.figures[figure] for name, one in findings.items() for figure in one.figures}
        run = {"scoring": dict(store.manifest.run), "seconds_of": laps.seconds}
        return output.finish(about, csv_row(row), page, run)


def _lineage(config: EvaluateSimilarityConfig) -> Lineage:
    # The similarities have a lineage of their own.
    return {"evaluator": "similarity", "name": config.name, "bootstrap": config.bootstrap, "seed": config.seed}


def _about(config: EvaluateSimilarityConfig, store: ScoreStore, findings: dict[str, Findings]) -> dict[str, Any]:
    """The report."""
    made = store.manifest
    figures = {f"{kind}_{name}": one.figures[kind] for name, one in findings.items() for kind in one.figures}
    intervals = {f"{kind}_{name}": bounds for name, one in findings.items() for kind, bounds in one.intervals.items()}
    best = {f"{kind}_max": max(one.figures[kind] for one in findings.values()) for kind in ("pearson", "spearman")}
    return {
        "evaluator": "similarity",
        "name": config.name,
        "figures": finite(figures | best),
        "intervals": finite(intervals),
        "replicates": config.bootstrap,
        "pairs": next(iter(findings.values())).state.pairs,
        "rows": made.about["rows"],
        "dropped": made.dropped,
        "model": made.about["model"],
        "backend": made.lineage["backend"],
        "dtype": made.lineage["dtype"],
        "graph": made.lineage.get("graph"),
        "min_cosine_to_float32": made.about["min_cosine_to_float32"],
        "data": made.about["data"],
        "scores": store.folder,
        "scores_digest": store.digest,
        "scores_lineage": dict(made.lineage),
    }


def _page(
    config: EvaluateSimilarityConfig, about: dict[str, Any], findings: dict[str, Findings], of_run: Iterable[Section]
) -> bytes:
    facts = {
        "model": about["model"],
        "computed": computed(about),
        "data": ", ".join(about["data"]),
        "pairs": f"{about['pairs']:,}",
    }
    parts = [figure_table(about["figures"], about["intervals"], config.bootstrap)]
    parts += [sections(one, title=name)[-1] for name, one in findings.items()]
    return report_page(f"Similarity{f': {config.name}' if config.name else ''}", facts, [*parts, *of_run])
