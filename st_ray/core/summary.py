"""The one screen of text that stands at the end of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def render_summary(title: str, lines: Mapping[str, str]) -> str:
    """A title and aligned `name  value` lines."""
    width = max(map(len, lines), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {value}" for name, value in lines.items())])


def job_summary(job: str, lines: Mapping[str, str], *, already: bool) -> str:
    """`render_summary` of a job that is complete, by this run or `already`."""
    return render_summary(f"{job}: {'complete already, nothing to do' if already else 'complete'}", lines)


def start_up_line(seconds: Mapping[str, float]) -> str:
    """Where the seconds up to the first commit went."""
    laps = ", ".join(f"{name} {count:.1f}" for name, count in seconds.items())
    return f"{sum(seconds.values()):.1f} s to the first commit: {laps}"


def actors_line(run: Mapping[str, Any]) -> str:
    """How many actors ran, by the figures of a run."""
    gpus = f", {run['gpus_per_actor']:g} GPUs each" if run["gpus_per_actor"] else ""
    return f"{run['actors']} x {run['threads_per_actor']} threads{gpus}"


def scored_lines(verb: str, run: Mapping[str, Any]) -> dict[str, str]:
    """What scoring pairs took, by the figures of a run."""
    before = run["shards_done_before"]
    lines = {"resumed": f"{before:,} shards were done by an earlier run"} if before else {}
    return lines | {
        verb: f"{run['pairs']:,} pairs, {run['tokens']:,} tokens in {human_seconds(run['seconds'])}",
        "start-up": start_up_line(run["start_up_seconds"]),
        "rate": f"{run['pairs_per_second']:,.1f} pairs/s",
        "actors": actors_line(run),
    }


def computed(how: Mapping[str, Any]) -> str:
    """`openvino in bfloat16`, and the exported graph where one was run, by a lineage or what was taken from it."""
    graph = how.get("graph")
    return f"{how['backend']} in {how['dtype']}" + (f", {graph.partition(' ')[0]}" if graph else "")


def human_bytes(count: float) -> str:
    """`512 B`, `1.5 MiB`, `2.0 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def human_seconds(seconds: float) -> str:
    """`42s`, `3m05s`, `2h07m`, `3d04h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
