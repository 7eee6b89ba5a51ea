"""What the rerank job tells its user at the end."""

from __future__ import annotations

from st_ray.core.summary import actors_line, computed, human_seconds, job_summary, start_up_line
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.result import JobResult


def rerank_summary(result: JobResult) -> str:
    """Counts, rates, and where things lie."""
    lines = rerank_facts(result) | {"report": f"{result.folder}/{PAGE}"}
    return job_summary("rerank", lines, already=result.already_complete)


def rerank_facts(result: JobResult) -> dict[str, str]:
    """What was made and, unless that was before, how."""
    manifest, run, about = result.manifest, result.manifest.run, result.manifest.about
    lineage = manifest.lineage
    kept = f", top {lineage['top_k']}" if lineage["top_k"] else ""
    lines = {
        "pairs": f"{about['pairs']:,} of {about['queries']:,} queries, from {about['reranked']}",
        "hits": f"{manifest.rows:,} in {len(manifest.entries):,} shards{kept}, {about['format']}",
        "model": f"{about['cross_encoder']}, {computed(lineage)}",
        "scores": about["scores"],
    }
    correlation = about["min_rank_correlation_to_float32"]
    if correlation is not None:
        lines["correlation"] = f"{correlation:.5f} at least, of ranks with those in float32, over a sample"
    skipped = {side: count for side, count in about["skipped"].items() if count}
    if skipped:
        lines["left out"] = ", ".join(f"{count:,} bad rows of the {side}" for side, count in skipped.items())
    if result.already_complete:
        return lines
    if run["shards_done_before"]:
        lines["resumed"] = f"{run['shards_done_before']:,} shards were committed by an earlier run"
    model_rate = run["tokens"] / max(run["model_seconds"], 1e-9)
    return lines | {
        "this run": f"{run['pairs']:,} pairs, {run['tokens']:,} tokens in {human_seconds(run['seconds'])}",
        "start-up": start_up_line(run["start_up_seconds"]),
        "rate": f"{run['pairs_per_second']:,.1f} pairs/s; the model {model_rate:,.0f} tokens/s an actor",
        "actors": actors_line(run),
    }
