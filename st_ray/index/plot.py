"""The measured curve as a picture."""

from __future__ import annotations

from typing import Any

from st_ray.core.figure import svg_figure
from st_ray.core.page import Section
from st_ray.index.tune import Curve


def curve_svg(curve: Curve, title: str) -> bytes:
    """Recall against the time of a query, as SVG; the same curve gives the same bytes.

    Raises:
        ResourceError: matplotlib is not installed.
    """
    return svg_figure(lambda figure: _draw(figure.add_subplot(), curve, title), (6.4, 4.2))


def curve_section(curve: Curve, parameter: str | None, picture: bytes) -> Section:
    """For the page of a report, by what `curve_svg` drew; `parameter` is what was varied, if anything."""
    rows: list[tuple[str, ...]] = [("recall", "ms a query", *([parameter] if parameter else []))]
    for point in curve.points:
        figures = f"{point.recall:.4f}", f"{1000 * point.seconds_per_query:.3f}"
        rows.append((*figures, *([f"{point.parameter}"] if parameter else [])))
    return Section("Recall and latency", curve.advice, rows, picture)


def _draw(axes: Any, curve: Curve, title: str) -> None:
    by_time = [1000 * point.seconds_per_query for point in curve.points]
    axes.plot(by_time, [point.recall for point in curve.points], marker="o", markersize=4, color="tab:blue")
    for time, point in zip(by_time, curve.points, strict=True):
        if point.parameter is not None:
            axes.annotate(str(point.parameter), (time, point.recall), (4, -10), textcoords="offset points", fontsize=7)
    axes.axhline(curve.target, linestyle="--", linewidth=1, color="tab:gray", label=f"target {curve.target:g}")
    chosen = curve.best
    label = f"chosen: {chosen.recall:.3f} in {1000 * chosen.seconds_per_query:.3g} ms"
    axes.plot(
        [1000 * chosen.seconds_per_query], [chosen.recall], "o", markersize=11, markerfacecolor="none",
        markeredgecolor="tab:red", label=label,
    )  # fmt: skip
    if all(time > 0 for time in by_time):
        axes.set_xscale("log")
    axes.set(xlabel="milliseconds per query", ylabel="recall", title=title)
    axes.grid(visible=True, which="both", linewidth=0.3)
    axes.legend(loc="lower right", fontsize=8)
