"""The measured curve as a picture."""

from __future__ import annotations

from st_ray.core.chart import Dot, line_chart, stand_alone
from st_ray.core.page import Section
from st_ray.index.tune import Curve


def curve_svg(curve: Curve, title: str) -> bytes:
    """Recall against the time of a query, as an SVG file; the same curve gives the same bytes."""
    return stand_alone(_chart(curve), title)


def curve_section(curve: Curve, parameter: str | None) -> Section:
    """For the page of a report; `parameter` is what was varied, if anything."""
    rows: list[tuple[str, ...]] = [("recall", "ms a query", *([parameter] if parameter else []))]
    for point in curve.points:
        figures = f"{point.recall:.4f}", f"{1000 * point.seconds_per_query:.3f}"
        rows.append((*figures, *([f"{point.parameter}"] if parameter else [])))
    return Section("Recall and latency", curve.advice, rows, _chart(curve))


def _chart(curve: Curve) -> bytes:
    chosen = curve.best
    dots = [
        Dot(
            1000 * point.seconds_per_query,
            point.recall,
            "" if point.parameter is None else f"{point.parameter}",
            ringed=point == chosen,
        )
        for point in sorted(curve.points, key=lambda point: point.seconds_per_query)
    ]
    found = f"chosen: recall {chosen.recall:.3f} in {1000 * chosen.seconds_per_query:.3g} ms"
    return line_chart(dots, (curve.target, f"target {curve.target:g}"), f"milliseconds a query; {found}")
