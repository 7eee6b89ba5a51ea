"""What the reembed job tells its user at the end."""

from __future__ import annotations

import posixpath

from st_ray.core.summary import human_seconds, render_summary
from st_ray.runtime.encode.summary import plan_lines
from st_ray.runtime.reembed.config import NO_INDEX
from st_ray.runtime.reembed.job import ReembedResult
from st_ray.runtime.reembed.plan import ReembedPlan
from st_ray.runtime.reembed.told import drift_lines, everything_lines, index_lines, origin_lines, rows_lines
from st_ray.store.versions import PAGE


def reembed_summary(result: ReembedResult, imports: float = 0.0) -> str:
    """What the version has, where from, and what was removed; `imports`: the seconds before the job began."""
    manifest, run, name = result.manifest, result.manifest.run, posixpath.basename(result.folder)
    rows, index = rows_lines(manifest), index_lines(manifest.about["index"])
    if result.already_complete:
        return render_summary(f"reembed: nothing to do, input and settings are those of {name}", rows | index)
    lines = {**rows, **origin_lines(manifest), **index, **drift_lines(manifest.about["drift"])}
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
    lines["report"] = f"{result.folder}/{PAGE}"
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
    lines |= everything_lines(standing.reuse, standing.differs)
    lines |= plan_lines(plan.encoding)
    if plan.index != NO_INDEX:
        how = f"that of {standing.refresh} refreshed, or else built anew" if standing.refresh else "built"
        lines["index"] = f"{plan.index}, {how}; its time is not in the estimate"
    return render_summary("reembed: plan, nothing was started or written", lines)
