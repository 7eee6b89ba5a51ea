"""What the export job tells its user at the end."""

from __future__ import annotations

from pathlib import PurePosixPath

from st_ray.core.summary import human_seconds, render_summary
from st_ray.runtime.export.output import REPORT, facts
from st_ray.runtime.model_output import TRAINING
from st_ray.runtime.result import JobResult
from st_ray.store import fs


def export_summary(result: JobResult) -> str:
    """What was made, how it agrees with torch, and how it is used."""
    about, run = result.manifest.about, result.manifest.run
    what, flag = ("CrossEncoder", "--cross-encoder") if about["pairs"] else ("BiEncoder", "--model")
    name = PurePosixPath(about["graph"]).name
    lines = facts(about)
    lines["use"] = f"{flag} {result.folder} --file-name {name}"
    lines["or"] = (
        f"st_ray.{what}({result.folder!r}, backend={result.manifest.lineage['backend']!r}, file_name={name!r})"
    )
    lines["report"] = fs.join(result.folder, TRAINING, REPORT)
    if result.already_complete:
        return render_summary("export: complete already, nothing to do", lines)
    laps = ", ".join(f"{lap} {seconds:.1f}" for lap, seconds in run["seconds_of"].items())
    lines["took"] = f"{human_seconds(run['seconds'])}: {laps} s"
    return render_summary("export: complete", lines)
