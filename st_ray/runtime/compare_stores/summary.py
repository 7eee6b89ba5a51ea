"""What the comparison tells its user at the end."""

from __future__ import annotations

from st_ray.core.summary import human_seconds, render_summary
from st_ray.runtime.compare_stores.job import REPORT
from st_ray.runtime.compare_stores.told import moved_line, overlap_line, switch_line, texts_line
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.result import JobResult


def compare_stores_summary(result: JobResult) -> str:
    """One screen."""
    about = result.manifest.about
    lines = {
        "old": f"{about['old']}, {about['old_rows']:,} rows",
        "new": f"{about['new']}, {about['new_rows']:,} rows",
        "texts": texts_line(about),
        "made": "in the same way" if not about["switch"]["because"] else "; ".join(about["switch"]["because"]),
        "moved": moved_line(about),
        "neighbours": overlap_line(about),
        "to switch": switch_line(about),
        "report": f"{result.folder}/{PAGE} and {REPORT}",
    }
    if result.already_complete:
        return render_summary("compare_stores: complete already, nothing to do", lines)
    return render_summary(
        "compare_stores: complete", lines | {"this run": human_seconds(result.manifest.run["seconds"])}
    )
