"""The one screen after an evaluation: its figures, what they were taken over, and where the report lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from st_ray.core.summary import computed, render_summary, scored_lines
from st_ray.runtime.evaluation.config import SIMILARITIES
from st_ray.runtime.evaluation.output import REPORT
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.result import JobResult
from st_ray.store.output import REJECTS


def evaluate_cross_encoder_summary(result: JobResult) -> str:
    """Of a cross-encoder."""
    manifest, about = result.manifest, result.manifest.about
    lines = {name.replace("_", " "): _figure(about, name, gap="  ") for name in about["figures"]}
    lines |= {"pairs": _pairs(about), **counted_lines(about)}
    lines["model"] = f"{about['cross_encoder']}, {computed(about)}, {about['activation']} of logits"
    if about["min_rank_correlation_to_float32"] is not None:
        least = about["min_rank_correlation_to_float32"]
        lines["correlation"] = f"{least:.5f} at least, of ranks with those in float32, over a sample"
    lines |= _left_out(about)
    lines["report"] = _report(result)
    if result.already_complete:
        return render_summary("evaluate_cross_encoder: complete already, nothing to do", lines)
    if manifest.run["scoring"]:
        lines |= scored_lines("scored", manifest.run["scoring"])
    laps = manifest.run["seconds_of"]
    lines["evaluated"] = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in laps.items() if name != "scores")
    return render_summary("evaluate_cross_encoder: complete", lines)


def evaluate_similarity_summary(result: JobResult) -> str:
    """Of a bi-encoder."""
    manifest, about = result.manifest, result.manifest.about
    lines = {
        name: ", ".join(f"{kind.capitalize()} {_figure(about, f'{kind}_{name}')}" for kind in ("pearson", "spearman"))
        for name in SIMILARITIES
    }
    lines |= {"pairs": _pairs(about), "model": f"{about['model']}, {computed(about)}"}
    if about["min_cosine_to_float32"] is not None:
        lines["agreement"] = (
            f"a cosine of {about['min_cosine_to_float32']:.5f} at least, to embeddings in float32, over a sample"
        )
    lines |= _left_out(about)
    lines["report"] = _report(result)
    if result.already_complete:
        return render_summary("evaluate_similarity: complete already, nothing to do", lines)
    lines |= scored_lines("encoded", manifest.run["scoring"])
    return render_summary("evaluate_similarity: complete", lines)


def counted_lines(about: Mapping[str, Any]) -> dict[str, str]:
    """What else was counted, for people."""
    return {name.replace("_", " "): f"{count:,}" for name, count in about["counted"].items()}


def _figure(about: Mapping[str, Any], name: str, gap: str = " ") -> str:
    figure, bounds = about["figures"][name], about["intervals"].get(name)
    if figure is None:
        return "undefined"
    drawn = bounds and bounds[0] is not None
    return f"{figure:.6f}" + (f"{gap}({bounds[0]:.4f} to {bounds[1]:.4f})" if drawn else "")


def _pairs(about: Mapping[str, Any]) -> str:
    return f"{about['pairs']:,} of {', '.join(about['data'])}"


def _left_out(about: Mapping[str, Any]) -> dict[str, str]:
    if not about["dropped"]:
        return {}
    reasons = "; ".join(f"{count:,} {reason}" for reason, count in about["dropped"].items())
    return {"rows left out": f"{sum(about['dropped'].values()):,}, in {about['scores']}/{REJECTS}: {reasons}"}


def _report(result: JobResult) -> str:
    return f"{result.folder}/{PAGE}, {REPORT} and {result.manifest.about['csv']}"
