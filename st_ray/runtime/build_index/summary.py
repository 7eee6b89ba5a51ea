"""What the index job tells its user at the end."""

from __future__ import annotations

from typing import Any

from st_ray.core.summary import human_bytes, human_seconds, job_summary
from st_ray.index.output import PLOT, spec_of
from st_ray.index.tune import Curve
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.result import JobResult


def build_index_summary(result: JobResult) -> str:
    """What was built, how well it finds, and where it lies."""
    lines = build_index_facts(result) | {"report": f"{result.folder}/{PAGE}"}
    return job_summary("build_index", lines, already=result.already_complete)


def build_index_facts(result: JobResult) -> dict[str, str]:
    """What was built and, unless that was before, how."""
    manifest, about, run = result.manifest, result.manifest.about, result.manifest.run
    spec = spec_of(about)
    lines = {
        "index": f"{spec.factory} for {'hamming' if spec.binary else spec.similarity}",
        "vectors": f"{manifest.rows:,} x {spec.dimension} in {len(manifest.entries):,} parts, "
        f"{human_bytes(manifest.total_bytes)}" + (f", joined in {about['merged']}" if about["merged"] else ""),
    }
    if about["trained_on"]:
        lines["trained"] = f"on {about['trained_on']:,} rows" + _since(about.get("refresh"))
    if about.get("refresh"):
        lines |= _taken_over(about["refresh"])
    if about["curve"]:
        lines |= _measured(Curve.from_json(about["curve"]), about, spec.search_parameter, result.folder)
    if result.already_complete:
        return lines
    if run["parts_done_before"]:
        lines["resumed"] = f"{run['parts_done_before']:,} parts were committed by an earlier run"
    steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run["seconds"].items())
    lines["this run"] = f"{human_seconds(sum(run['seconds'].values()))}: {steps}"
    return lines


def _since(refresh: Any) -> str:
    changed = refresh["changed_since_training"] if refresh else 0
    return f"; {changed:,} have changed since" if changed else ""


def _taken_over(refresh: Any) -> dict[str, str]:
    if refresh["why"]:
        return {"REBUILT": f"{refresh['from']} could not be refreshed: {refresh['why']}"}
    counts = ", ".join(f"{refresh[name]:,} {name}" for name in ("kept", "added", "removed"))
    return {"refreshed": f"from {refresh['from']}: {counts}"}


def _measured(curve: Curve, about: Any, parameter: str | None, folder: str) -> dict[str, str]:
    point = curve.best
    setting = f"{parameter} {curve.chosen}" if curve.chosen is not None else "as it is"
    lines = {
        "recall": f"{point.recall:.4f} at {about['recall_at']} with {setting}, "
        f"{1000 * point.seconds_per_query:.3f} ms a query; curve in {folder}/{PLOT}"
    }
    if not curve.reached:
        lines["TARGET MISSED"] = f"{about['target_recall']:g} was asked for; {curve.advice}"
    return lines
