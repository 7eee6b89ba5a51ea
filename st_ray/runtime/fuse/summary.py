"""What the fusion job tells its user at the end."""

from __future__ import annotations

from st_ray.core.summary import human_seconds, job_summary
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.result import JobResult


def fuse_summary(result: JobResult) -> str:
    """Counts, rates, and where things lie."""
    lines = fuse_facts(result) | {"report": f"{result.folder}/{PAGE}"}
    return job_summary("fuse", lines, already=result.already_complete)


def fuse_facts(result: JobResult) -> dict[str, str]:
    """What was made and, unless that was before, how."""
    manifest, run, about = result.manifest, result.manifest.run, result.manifest.about
    top_k = manifest.lineage["top_k"]
    lines = {
        "queries": f"{about['queries']:,} of {len(about['fused'])} sets",
        "hits": f"{manifest.rows:,} from {about['hits_read']:,} in {len(manifest.entries):,} shards, "
        + (f"top {top_k}, " if top_k else "")
        + about["format"],
        "scores": about["scores"],
        "found by": ", ".join(
            f"{number} {'sets' if number > 1 else 'set'} {count:,}"
            for number, count in enumerate(about["hits_found_by"], 1)
        ),
    }
    for name, missing in zip(about["fused"], about["queries_missing"], strict=True):
        if missing:
            lines[f"not in {name}"] = f"{missing:,} queries, fused from the other sets"
    if result.already_complete:
        return lines
    if run["shards_done_before"]:
        lines["resumed"] = f"{run['shards_done_before']:,} shards were committed by an earlier run"
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run["seconds_of"].items())
    lines["this run"] = f"{human_seconds(run['seconds'])}, in seconds: {spent}"
    work = run["seconds_of"]["split"] + run["seconds_of"]["fuse"]
    lines["rate"] = f"{run['hits'] / max(work, 1e-9):,.0f} hits/s"
    return lines
