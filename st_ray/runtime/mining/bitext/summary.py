"""What the bitext job tells its user at the end."""

from __future__ import annotations

from st_ray.core.summary import actors_line, human_seconds, render_summary
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.result import JobResult


def bitext_summary(result: JobResult) -> str:
    """Counts, margins, rates, and where things lie."""
    manifest, run, about = result.manifest, result.manifest.run, result.manifest.about
    lineage, quantiles = manifest.lineage, about["margin_quantiles"]
    lines = {
        "source": f"{about['source_rows']:,} rows of {about['source']}",
        "target": f"{about['target_rows']:,} rows of {about['target']}",
        "candidates": f"{about['candidates_forward']:,} by source, {about['candidates_backward']:,} by target, "
        f"{about['candidates_mutual']:,} of them the same",
        "pairs": f"{manifest.rows:,} in {len(manifest.entries):,} shards, best first, retrieval {lineage['retrieval']}",
        "scores": about["scores"],
    }
    if lineage["threshold"] is not None:
        lines["threshold"] = f"{lineage['threshold']:g} left out {about['below_threshold']:,} pairs"
    if quantiles:
        worst, best = quantiles["0"], quantiles["1"]
        quartiles = ", ".join(f"{quantiles[level]:.4f}" for level in ("0.25", "0.5", "0.75"))
        lines["margins"] = f"{worst:.4f} to {best:.4f}, quartiles {quartiles}"
    lines["report"] = f"{result.folder}/{PAGE}: what each threshold keeps, with examples"
    if result.already_complete:
        return render_summary("mine_bitext: complete already, nothing to do", lines)
    resumed = {name: count for name, count in run["shards_done_before"].items() if count}
    if resumed:
        counts = ", ".join(f"{name} {count:,}" for name, count in resumed.items())
        lines["resumed"] = f"shards that were committed by an earlier run: {counts}"
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run["seconds_of"].items())
    lines["this run"] = f"{human_seconds(run['seconds'])}, in seconds: {spent}"
    if run["rows"]:
        lines["rate"] = f"{run['rows'] / max(run['search_seconds'], 1e-9):,.0f} rows/s, of both sides"
        lines["actors"] = actors_line(run)
    return render_summary("mine_bitext: complete", lines)
