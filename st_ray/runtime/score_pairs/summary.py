"""What the job that scores pairs tells its user at the end."""

from __future__ import annotations

from st_ray.core.summary import computed, job_summary, scored_lines
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.result import JobResult
from st_ray.store.output import REJECTS


def score_pairs_summary(result: JobResult) -> str:
    """Counts, rates, and where things lie."""
    lines = score_pairs_facts(result) | {"report": f"{result.folder}/{PAGE}"}
    return job_summary("score_pairs", lines, already=result.already_complete)


def score_pairs_facts(result: JobResult) -> dict[str, str]:
    """What was scored and, unless that was before, how."""
    manifest, about, run = result.manifest, result.manifest.about, result.manifest.run
    columns = about["columns"]
    again = about["pairs"] - about["distinct_pairs"]
    lines = {
        "rows": f"{manifest.rows:,} in {len(manifest.entries):,} shards, of {', '.join(about['data'])}",
        "texts": f"{about['format']} of {', '.join([columns['query'], *columns['documents']])}",
        "pairs": f"{about['pairs']:,}"
        + (f", of which {again:,} had their score from an equal one" if again else "")
        + (f", {about['labels']} scores each" if about["labels"] > 1 else ""),
    }
    if about["scores"] is not None:
        least, mean, greatest = (about["scores"][name] for name in ("min", "mean", "max"))
        lines["scores"] = f"{least:.4f} to {greatest:.4f}, {mean:.4f} on average; {about['activation']} of logits"
    lines["model"] = f"{about['cross_encoder']}, {computed(manifest.lineage)}"
    if about["min_rank_correlation_to_float32"] is not None:
        correlation = about["min_rank_correlation_to_float32"]
        lines["correlation"] = f"{correlation:.5f} at least, of ranks with those in float32, over a sample"
    if manifest.dropped:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in manifest.dropped.items())
        lines["rows left out"] = f"{sum(manifest.dropped.values()):,}, in {result.folder}/{REJECTS}: {reasons}"
    lines["result"] = f"{result.folder}/data, as jobs.train_cross_encoder takes it"
    return lines if result.already_complete else lines | scored_lines("scored", run)
