"""Small charts as SVG, drawn without a library: matplotlib takes a second to import, which a short job would notice.

They name no colours: `report_page` gives what they consist of those of its light or dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

_WIDTH = 400
"""Pixels: with text of 12 that can be read where a phone shows the whole width."""
_LEFT, _TOP, _BOTTOM = 46, 8, 20
_HEIGHT = 130
_GAP = 8
_BAR = 34


@dataclass(frozen=True)
class Columns:
    """Columns side by side, as one shape.

    Attributes:
        heights: `[n]`, none of them negative; at least one.
        labels: text below them, with its place from 0 (left) to 1.
        width: what they take of the chart's width, beside what the others take.
    """

    heights: np.ndarray
    labels: Sequence[tuple[float, str]] = ()
    width: float = 1.0


def column_chart(groups: Sequence[Columns]) -> bytes:
    """Columns over one axis that begins at 0; a gap lies between two groups. At least one group."""
    steps = nice_steps(max(float(group.heights.max()) for group in groups))
    scale = _HEIGHT / steps[-1]
    parts = [*_axis(steps, scale)]
    room = _WIDTH - _LEFT - _GAP * (len(groups) - 1)
    total, left = sum(group.width for group in groups), float(_LEFT)
    for group in groups:
        width = room * group.width / total
        parts += _columns(group, left, width, scale)
        left += width + _GAP
    return _svg(parts, _TOP + _HEIGHT + _BOTTOM)


def bar_chart(bars: Sequence[tuple[str, float, str]]) -> bytes:
    """Horizontal bars: name, length (none negative) and what is said of it. At least one."""
    longest = max(length for _, length, _ in bars) or 1.0
    parts = []
    for number, (name, length, text) in enumerate(bars):
        top = number * _BAR
        parts += [
            f'<text class="strong" x="0" y="{top + 13}">{escape(name)}</text>',
            f'<text class="end" x="{_WIDTH}" y="{top + 13}">{escape(text)}</text>',
            f'<rect class="back" x="0" y="{top + 19}" width="{_WIDTH}" height="7" rx="2"/>',
            f'<rect class="mark" x="0" y="{top + 19}" width="{_WIDTH * length / longest:.1f}" height="7" rx="2"/>',
        ]
    return _svg(parts, len(bars) * _BAR)


def nice_steps(top: float) -> list[float]:
    """Round numbers from 0 in equal steps, three or four of them, up to the first that is not below `top`."""
    if top <= 0:
        return [0.0, 1.0]
    size = 10.0 ** math.floor(math.log10(top / 3))
    step = size * next(factor for factor in (1, 2, 5, 10) if factor * size >= top / 3)
    return [step * number for number in range(math.ceil(top / step * (1 - 1e-9)) + 1)]


def short_number(value: float) -> str:
    """`0.05`, `950`, `9,500`, `12k`, `3.5M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):,.4g}{unit}"
    return f"{value:,.4g}"


def _axis(steps: Sequence[float], scale: float) -> Iterator[str]:
    for step in steps:
        height = _TOP + _HEIGHT - step * scale
        yield f'<path class="line" d="M{_LEFT} {height:.1f}H{_WIDTH}"/>'
        yield f'<text class="end" x="{_LEFT - 6}" y="{height + 4:.1f}">{short_number(step)}</text>'


def _columns(group: Columns, left: float, width: float, scale: float) -> Iterator[str]:
    base, each = _TOP + _HEIGHT, width / len(group.heights)
    outline = "".join(
        f"V{base - height * scale:.1f}H{left + (number + 1) * each:.1f}"
        for number, height in enumerate(group.heights.tolist())
    )
    yield f'<path class="mark" d="M{left:.1f} {base}{outline}V{base}Z"/>'
    for place, text in group.labels:
        anchor = "" if place <= 0 else ' class="end"' if place >= 1 else ' class="middle"'
        yield f'<text{anchor} x="{left + place * width:.1f}" y="{base + 15}">{escape(text)}</text>'


def _svg(parts: Sequence[str], height: float) -> bytes:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" width="{_WIDTH * 0.75:g}pt"'
    return f'{head} viewBox="0 0 {_WIDTH} {height:g}">{"".join(parts)}</svg>'.encode()
