"""Pictures as SVG: the same drawing gives the same bytes."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from st_ray.core.errors import ResourceError

# Okabe and Ito's colours, which the colour-blind tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
_NOT_IN_XML = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def svg_figure(draw: Callable[[Any], None], size: tuple[float, float] = (4.8, 3.6)) -> bytes:
    """What `draw` draws onto a new matplotlib `Figure` of `size` inches, as SVG.

    The size is such that the text can be read even where a phone shows the whole width.

    Raises:
        ResourceError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ResourceError(f"a plot needs matplotlib: {error}", "pip install matplotlib") from error
    sink = io.BytesIO()
    # The salt makes ids within the file repeatable. Text stays text, which can be found and selected.
    style = rc_context({"svg.hashsalt": "st-ray", "svg.fonttype": "none", "axes.axisbelow": True})
    with style, warnings.catch_warnings():
        # It measures text with a font of its own, which lacks many scripts; the viewer's need not.
        warnings.filterwarnings("ignore", "Glyph|Matplotlib currently does not support")
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    return sink.getvalue()


def figure_text(text: str, longest: int = 24) -> str:
    """Text from data as matplotlib is to draw it: on one line, no formula, its middle left out above `longest`."""
    shown = _NOT_IN_XML.sub(" ", text)
    if len(shown) > longest:
        shown = f"{shown[: longest // 2]}…{shown[1 + longest // 2 - longest :]}"
    return shown.replace("$", r"\$")


def metric_text(value: float) -> str:
    """A metric as titles show it."""
    return "undefined" if math.isnan(value) else f"{value:.4f}"


def padded(*values: float, margin: float = 0.04) -> tuple[float, float]:
    """The ends of an axis that shows all values; it has a length even if they are equal, but for rounding."""
    low, high = float(min(values)), float(max(values))
    largest = max(abs(low), abs(high))
    if high - low <= max(1e-9 * largest, 1e-30):
        low, high = low - max(0.1 * largest, 0.5), high + max(0.1 * largest, 0.5)
    return low - margin * (high - low), high + margin * (high - low)


def unit_bins(values: np.ndarray, bins: int) -> np.ndarray:
    """The bin `[n]` int64 of each value from 0 to 1, of `bins` of equal width.

    An end belongs to the bin above it, also where a short float type has rounded it down; 1 is in the last.
    """
    scaled = np.round(np.asarray(values, np.float64) * bins, 5)
    return np.minimum(scaled.astype(np.int64), bins - 1)


def legend_below(figure: Any, columns: int) -> None:
    """A legend that covers no data."""
    figure.legend(loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
