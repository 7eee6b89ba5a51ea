"""What the search job tells its user at the end."""

from __future__ import annotations

from st_ray.core.summary import actors_line, human_seconds, job_summary, start_up_line
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.result import JobResult
from st_ray.runtime.search.base import TERMS
from st_ray.store.output import REJECTS


def search_summary(result: JobResult) -> str:
    """Counts, rates, and where things lie."""
    lines = search_facts(result) | {"report": f"{result.folder}/{PAGE}"}
    return job_summary("search", lines, already=result.already_complete)


def search_facts(result: JobResult) -> dict[str, str]:
    """What was found and, unless that was before, how."""
    manifest, run, about = result.manifest, result.manifest.run, result.manifest.about
    lineage = manifest.lineage
    lines = {
        "queries": f"{about['queries']:,} against {about['corpus_rows']:,} rows of {about['searched']}",
        "hits": f"{manifest.rows:,} in {len(manifest.entries):,} shards, top {lineage['top_k']}, {about['format']}",
        "scores": about["scores"],
    }
    if about["queries_without_hits"]:
        lines["without hits"] = f"{about['queries_without_hits']:,} queries"
    if manifest.dropped:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in manifest.dropped.items())
        lines["left out"] = f"{sum(manifest.dropped.values()):,} queries, in {result.folder}/{REJECTS}: {reasons}"
    if about.get("corpus_rows_left_out"):
        where = f"{result.folder}/{TERMS}/{REJECTS}"
        lines["corpus"] = f"{about['corpus_rows_left_out']:,} rows left out, listed in {where}"
    if lineage.get("parameter"):
        lines["search"] = f"{about['factory']}, {about['parameter_name']} {lineage['parameter']}"
    if result.already_complete:
        return lines
    if run["shards_done_before"]:
        lines["resumed"] = f"{run['shards_done_before']:,} shards were committed by an earlier run"
    return lines | {
        "this run": f"{run['queries']:,} queries in {human_seconds(run['seconds'])}",
        "start-up": start_up_line(run["start_up_seconds"]),
        "rate": f"{run['queries'] / max(run['search_seconds'], 1e-9):,.0f} queries/s",
        "actors": actors_line(run),
    }
