"""Pictures of a training: how the loss fell, and how the model measured up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from st_ray.core.figure import BLUE, GREEN, GREY, ORANGE, legend_below, metric_text, padded, svg_figure
from st_ray.training.history import Record

_SMOOTHED = 0.1
"""Share of the curve that the mean beside each point is taken over."""


def loss_curve(history: Sequence[Record]) -> bytes:
    """Loss by step, and its running mean. At least one record."""
    steps, losses = (np.array([getattr(record, name) for record in history]) for name in ("step", "loss"))
    width = max(1, round(_SMOOTHED * len(losses)))
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot(steps, losses, color=GREY, alpha=0.5, linewidth=1, label="loss")
        if width > 1:
            axes.plot(steps[width - 1 :], smooth, color=BLUE, linewidth=2, label=f"mean of {width} records")
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.set_title(f"Loss: {losses[0]:.4g} at first, {smooth[-1]:.4g} at last", fontsize=10)
        axes.grid(alpha=0.3)
        legend_below(figure, 2)

    return svg_figure(draw)


def metric_curve(history: Sequence[Record], name: str, best: int | None) -> bytes:
    """A metric by step; `best` is the step that is marked. At least one record has it."""
    points = [(record.step, record.metrics[name]) for record in history if name in record.metrics]
    steps, values = (np.array(column) for column in zip(*points, strict=True))

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot(steps, values, color=GREEN, marker="o", markersize=4)
        if best in steps:
            value = float(values[steps == best][0])
            axes.plot([best], [value], color=ORANGE, marker="o", markersize=9, fillstyle="none", markeredgewidth=2)
            axes.set_title(f"{name}: {metric_text(value)} at step {best:,}, which was kept", fontsize=10)
        else:
            axes.set_title(f"{name}: {metric_text(float(values[-1]))} at last", fontsize=10)
        axes.set_ylim(*padded(*values.tolist(), margin=0.1))
        axes.set_xlabel("step")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)

    return svg_figure(draw)


def rate_curve(history: Sequence[Record]) -> bytes:
    """Learning rate and gradient norm by step. At least one record."""
    steps = [record.step for record in history]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot(steps, [record.learning_rate for record in history], color=BLUE, label="learning rate (left)")
        axes.set_xlabel("step")
        axes.set_ylabel("learning rate")
        axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        other = axes.twinx()
        norms = [record.gradient_norm for record in history]
        other.plot(steps, norms, color=ORANGE, alpha=0.7, linewidth=1, label="gradient norm (right)")
        other.set_ylabel("gradient norm")
        other.set_ylim(bottom=0)
        axes.set_title("Learning rate and gradient norm", fontsize=10)
        axes.grid(alpha=0.3)
        legend_below(figure, 2)

    return svg_figure(draw)
