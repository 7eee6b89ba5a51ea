"""What a version has and where it is from in words, for the summary and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from st_ray.core.summary import human_bytes
from st_ray.index.tune import Curve
from st_ray.runtime.reembed.drift import COMPARED, COPIED
from st_ray.store.manifest import Manifest


def rows_lines(manifest: Manifest) -> dict[str, str]:
    """How many rows, and by which model."""
    size = human_bytes(manifest.total_bytes)
    return {"rows": f"{manifest.rows:,}, {size} of embeddings with {manifest.about['model']}"}


def origin_lines(manifest: Manifest) -> dict[str, str]:
    """Where the rows are from."""
    run, source = manifest.run, manifest.lineage["reuse"]
    lines = everything_lines(source, manifest.about["differs"])
    if source is not None:
        gone = "" if run["gone"] is None else f", {run['gone']:,} of its rows gone"
        lines["reused"] = f"{run['reused']:,} rows from {source}, {run['encoded']:,} encoded{gone}"
    if run["left_out"]:
        lines["left out"] = f"{run['left_out']:,} rows, listed in embeddings/rejects.parquet"
    return lines


def everything_lines(source: str | None, differs: Sequence[str]) -> dict[str, str]:
    """Why nothing is taken over, where that is not because there is nothing."""
    return {"encoded": "all, since " + "; ".join(differs)} if source is None and differs else {}


def index_lines(about: Mapping[str, Any] | None) -> dict[str, str]:
    """The index, how it was made and how well it finds."""
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


def drift_lines(about: Mapping[str, Any]) -> dict[str, str]:
    """How far embeddings are from those of the version before, if there is one."""
    how, before = about["how"], about["before"]
    if before is None:
        return {}
    if how == COPIED:
        return {"drift": f"none since {before}: {about['why']}"}
    if how == COMPARED:
        return {"drift": f"since {before}: {_moved(about)}{_neighbours(about['overlap'])}"}
    return {"drift": f"{how} with {before}: {about['why']}"}


def _moved(about: Mapping[str, Any]) -> str:
    found = about["movement"]
    if found is None:
        return about["unmoved"]
    by = f"by {found['texts']:,} texts"
    if found["identical"] == found["texts"]:
        return f"the same to the last bit, {by}"
    return f"moved to a cosine of {found['mean']:.6f} on average, {found['percentiles']['min']:.6f} the least, {by}"


def _neighbours(found: Mapping[str, Any] | None) -> str:
    return f"; {found['mean']:.1%} of the {found['top_k']} nearest neighbours are the same" if found else ""
