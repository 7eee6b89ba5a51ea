"""What the reembed job tells its user at the end."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from st_ray.core.summary import human_bytes, human_seconds, render_summary
from st_ray.index.tune import Curve
from st_ray.runtime.encode.summary import plan_lines
from st_ray.runtime.reembed.config import NO_INDEX
from st_ray.runtime.reembed.job import ReembedResult
from st_ray.runtime.reembed.plan import ReembedPlan
from st_ray.store.manifest import Manifest


def reembed_summary(result: ReembedResult, imports: float = 0.0) -> str:
    """What the version has, where from, and what was removed; `imports`: the seconds before the job began."""
    manifest, run, name = result.manifest, result.manifest.run, posixpath.basename(result.folder)
    lines = {
        "rows": f"{manifest.rows:,}, {human_bytes(manifest.total_bytes)} of embeddings with {manifest.about['model']}",
        **({} if result.already_complete else _origin(manifest)),
        **_index(manifest.about["index"]),
    }
    if result.already_complete:
        return render_summary(f"reembed: nothing to do, input and settings are those of {name}", lines)
    if run["resumed"]:
        lines["resumed"] = "an earlier run had begun this version"
    steps = {**({"imports": imports} if imports else {}), **run["seconds"]}
    lines["this run"] = f"{human_seconds(sum(steps.values()))}: " + ", ".join(
        f"{step} {seconds:.1f}" for step, seconds in steps.items()
    )
    if result.removed:
        lines["removed"] = ", ".join(f"{gone} ({why})" for gone, why in result.removed.items())
    lines["read it as"] = ", ".join(
        f"{posixpath.dirname(result.folder)}/latest/{within}"
        for within in ("embeddings", *(["index"] if manifest.about["index"] else []))
    )
    return render_summary(f"reembed: {name} is the latest version", lines)


def plan_reembed_summary(plan: ReembedPlan) -> str:
    """What a run would do, and how long it would take."""
    standing = plan.standing
    lines = {"latest": standing.latest or "there is none yet"}
    if standing.unchanged:
        lines["unchanged"] = "input and settings are those of the latest version; --if-changed would do nothing"
    if standing.resumed:
        lines["resumed"] = f"{standing.resumed}, which an earlier run had begun; what it has is not in these figures"
    if standing.dropped:
        lines["removed"] = ", ".join(f"{name} ({why})" for name, why in standing.dropped.items())
    lines |= _everything(standing.reuse, standing.differs)
    lines |= plan_lines(plan.encoding)
    if plan.index != NO_INDEX:
        how = f"that of {standing.refresh} refreshed, or else built anew" if standing.refresh else "built"
        lines["index"] = f"{plan.index}, {how}; its time is not in the estimate"
    return render_summary("reembed: plan, nothing was started or written", lines)


def _origin(manifest: Manifest) -> dict[str, str]:
    """Where the rows are from."""
    run, source = manifest.run, manifest.lineage["reuse"]
    lines = _everything(source, manifest.about["differs"])
    if source is not None:
        gone = "" if run["gone"] is None else f", {run['gone']:,} of its rows gone"
        lines["reused"] = f"{run['reused']:,} rows from {source}, {run['encoded']:,} encoded{gone}"
    if run["left_out"]:
        lines["left out"] = f"{run['left_out']:,} rows, listed in embeddings/rejects.parquet"
    return lines


def _everything(source: str | None, differs: Sequence[str]) -> dict[str, str]:
    """Why nothing is taken over, where that is not because there is nothing."""
    return {"encoded": "all, since " + "; ".join(differs)} if source is None and differs else {}


def _index(about: Mapping[str, Any] | None) -> dict[str, str]:
    if about is None:
        return {}
    lines = {"index": f"{about['factory']}, {human_bytes(about['bytes'])}, {_how(about['refresh'])}"}
    if about["curve"]:
        curve = Curve.from_json(about["curve"])
        lines["recall"] = f"{curve.best.recall:.4f} at {about['recall_at']}"
        if not curve.reached:
            lines["TARGET MISSED"] = f"{about['target_recall']:g} was asked for; {curve.advice}"
    return lines


def _how(refresh: Mapping[str, Any] | None) -> str:
    """Whether the index is the one before with what has changed, and why not."""
    if refresh is None:
        return "built"
    if refresh["how"] == "refreshed":
        return f"refreshed: {refresh['kept']:,} kept, {refresh['added']:,} added, {refresh['removed']:,} removed"
    return f"{refresh['how']}: {refresh['why']}"
