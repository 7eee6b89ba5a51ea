"""What the job that mines hard negatives tells its user at the end."""

from __future__ import annotations

from typing import Any

from st_ray.core.summary import human_seconds, render_summary
from st_ray.mining.negative_statistics import render
from st_ray.runtime.mining.negatives.report import report_of_json
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.result import JobResult


def negatives_summary(result: JobResult) -> str:
    """Counts, the table of scores, a line for each filter, and where things lie."""
    manifest, run, about = result.manifest, result.manifest.run, result.manifest.about
    lineage, texts = manifest.lineage, about["texts"]
    lines = {
        "pairs": f"{texts['distinct_pairs']:,} of {texts['anchors']:,} queries, out of {texts['pairs']:,} rows",
        "documents": f"{texts['documents']:,}"
        + (f", {texts['added']:,} of them positives that the corpus lacks" if texts["added"] else ""),
        **_left_out(texts),
        "model": about["model"],
        **({"cross-encoder": about["cross_encoder"]} if about["cross_encoder"] else {}),
        "scores": about["scores"],
        "candidates": f"{about['candidates']:,}, of the closest {about['range_max']:,} of each query",
        "negatives": f"{about['negatives']:,}, {lineage['sampling_strategy']}; {about['complete']:,} queries have all "
        f"{lineage['num_negatives']}, {about['without']:,} none",
        "rows": f"{manifest.rows:,} in {len(manifest.entries):,} shards, {lineage['output_format']}",
        "report": f"{result.folder}/{PAGE}",
        "kept work": about["work"],
    }
    figures = "\n".join(f"  {line}" for line in render(report_of_json(about["report"])).split("\n"))
    if result.already_complete:
        return render_summary("mine_hard_negatives: complete already, nothing to do", lines) + "\n" + figures
    if run["shards_done_before"]:
        lines["resumed"] = f"{run['shards_done_before']:,} shards were committed by an earlier run"
    lines["steps done"] = ", ".join(run["steps_done"]) or "none, all were done before"
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run["seconds_of"].items())
    lines["this run"] = f"{human_seconds(run['seconds'])}, in seconds: {spent}"
    return render_summary("mine_hard_negatives: complete", lines) + "\n" + figures


def _left_out(texts: dict[str, Any]) -> dict[str, str]:
    """Rows that were not used, and why."""
    counts = {
        "rows of pairs that cannot be used": texts["bad_pairs"],
        "pairs with an empty text": texts["empty_pairs"],
        "rows of the corpus that cannot be used": texts["bad_documents"],
        "empty texts of the corpus": texts["empty_documents"],
    }
    found = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return {"left out": found} if found else {}
