"""What the community job tells its user at the end."""

from __future__ import annotations

from st_ray.core.summary import human_seconds, render_summary
from st_ray.runtime.mining.communities.page import percent
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.result import JobResult


def communities_summary(result: JobResult) -> str:
    """Counts, rates, and where things lie."""
    manifest, run, about = result.manifest, result.manifest.run, result.manifest.about
    rows, inside, parts = about["rows"], about["rows_in_communities"], len(manifest.entries)
    lines = {
        "rows": f"{rows:,} of {about['embeddings']}",
        "communities": f"{about['communities']:,} of {about['min_community_size']:,} rows or more, with a cosine of "
        f"{about['threshold']:g} or more to the centre",
        "rows in one": f"{inside:,} ({percent(inside, rows)}), in {parts:,} part{'s' if parts > 1 else ''}",
    }
    if about["communities"]:
        lines["sizes"] = f"{about['largest']:,} the largest, {about['median']:,g} the median"
    lines["report"] = f"{result.folder}/{PAGE}"
    if result.already_complete:
        return render_summary("detect_communities: complete already, nothing to do", lines)
    resumed = {"shards": run["shards_done_before"], "candidates": run["candidates_done_before"]}
    if any(resumed.values()):
        done = " and ".join(f"{count:,} {noun}" for noun, count in resumed.items() if count)
        lines["resumed"] = f"{done} were done by an earlier run"
    spent = run["seconds_of"]
    laps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in spent.items())
    lines["this run"] = f"{human_seconds(run['seconds'])}, in seconds: {laps}"
    lines["rate"] = (
        f"{run['pairs'] / max(spent['count'], 1e-9):,.0f} pairs/s counted; neighbours of {run['asked']:,} rows listed, "
        f"{run['asked'] / max(spent['group'], 1e-9):,.0f} a second"
    )
    return render_summary("detect_communities: complete", lines)
