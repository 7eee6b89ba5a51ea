"""What the rerank job tells its user at the end."""

from __future__ import annotations

from st_ray.core.summary import human_seconds, render_summary
from st_ray.runtime.result import JobResult


def rerank_summary(result: JobResult) -> str:
    """Counts, rates, and where things lie."""
    manifest, run, about = result.manifest, result.manifest.run, result.manifest.about
    lineage = manifest.lineage
    kept = f", top {lineage['top_k']}" if lineage["top_k"] else ""
    lines = {
        "pairs": f"{about['pairs']:,} of {about['queries']:,} queries, from {about['reranked']}",
        "hits": f"{manifest.rows:,} in {len(manifest.entries):,} shards{kept}, {about['format']}",
        "model": f"{about['cross_encoder']}, {lineage['backend']} in {lineage['dtype']}",
        "scores": about["scores"],
    }
    correlation = about["min_rank_correlation_to_float32"]
    if correlation is not None:
        lines["correlation"] = f"{correlation:.5f} at least, of ranks with those in float32, over a sample"
    skipped = {side: count for side, count in about["skipped"].items() if count}
    if skipped:
        lines["left out"] = ", ".join(f"{count:,} bad rows of the {side}" for side, count in skipped.items())
    if result.already_complete:
        return render_summary("rerank: complete already, nothing to do", lines)
    if run["shards_done_before"]:
        lines["resumed"] = f"{run['shards_done_before']:,} shards were committed by an earlier run"
    model_rate = run["tokens"] / max(run["model_seconds"], 1e-9)
    rate = run["pairs_per_second_after_first_commit"] or run["pairs"] / max(run["rerank_seconds"], 1e-9)
    start = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run["start_up_seconds"].items())
    lines |= {
        "this run": f"{run['pairs']:,} pairs, {run['tokens']:,} tokens in {human_seconds(run['seconds'])}",
        "start-up": f"{sum(run['start_up_seconds'].values()):.1f} s to the first commit: {start}",
        "rate": f"{rate:,.1f} pairs/s; the model {model_rate:,.0f} tokens/s an actor",
        "actors": f"{run['actors']} x {run['threads_per_actor']} threads"
        + (f", {run['gpus_per_actor']:g} GPUs each" if run["gpus_per_actor"] else ""),
    }
    return render_summary("rerank: complete", lines)
