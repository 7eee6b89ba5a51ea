"""How the results of a graph agree with torch's, as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from st_ray.core.figure import svg_figure
from st_ray.scoring.agreement import cosines


def agreement_plot(found: np.ndarray, exact: np.ndarray, *, pairs: bool) -> bytes:
    """SVG: logits of both against each other, or the distribution of the embeddings' cosines."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        if pairs:
            axes.scatter(exact.ravel(), found.ravel(), s=8, alpha=0.6)
            ends = [float(exact.min()), float(exact.max())]
            axes.plot(ends, ends, linewidth=0.8, color="0.5")
            axes.set_xlabel("logit by torch")
            axes.set_ylabel("logit by the graph")
        else:
            axes.hist(cosines(found, exact), bins=40)
            axes.set_xlabel("cosine to torch's embedding")
            axes.set_ylabel("texts")

    return svg_figure(draw)
