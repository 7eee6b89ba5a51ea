"""Small charts as SVG, drawn without a library: matplotlib takes a second to import, which a short job would notice.

They name no colours: a page or `stand_alone` gives what they consist of those of a light or dark scheme.
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
_MARGIN = 16
_STEPS = (1, 2, 5, 10)
_MOST_PLACES = 8
_NAME = 28
_LETTER = 7
_MOST_NUMBERS = 6

PALETTE = """
:root { color-scheme: light dark;
  --text: #1b1f24; --soft: #59636e; --line: #d5dae0; --back: #ffffff; --mark: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e3e7ec; --soft: #9aa4b0; --line: #3a424c; --back: #14181d; --mark: #56b4e9; }
}
"""
CHART_STYLE = """
svg.chart text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg.chart .strong { fill: var(--text); }
svg.chart .middle { text-anchor: middle; }
svg.chart .end { text-anchor: end; }
svg.chart .mark { fill: var(--mark); }
svg.chart .back { fill: var(--line); }
svg.chart .line { stroke: var(--line); }
svg.chart .curve { fill: none; stroke: var(--mark); stroke-width: 1.5; }
svg.chart .level { stroke: var(--soft); stroke-dasharray: 4 3; }
"""


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


@dataclass(frozen=True)
class Dot:
    """A point of a `line_chart`.

    Attributes:
        place: above 0, unless it is the only one.
        name: text beside it, unless that would lie over another's.
        ringed: whether it stands out.
    """

    place: float
    height: float
    name: str = ""
    ringed: bool = False


def line_chart(dots: Sequence[Dot], level: tuple[float, str], axis: str) -> bytes:
    """Points joined by a line, over an axis on which equal lengths are equal factors.

    Args:
        dots: by rising place; at least one.
        level: a height to mark by a dashed line, and its name.
        axis: what the places are.
    """
    heights = _round_steps(min(level[0], *(dot.height for dot in dots)), max(level[0], *(dot.height for dot in dots)))
    scale = _HEIGHT / (heights[-1] - heights[0])
    base = _TOP + _HEIGHT

    def up(height: float) -> float:
        return base - (height - heights[0]) * scale

    first, last = dots[0].place, dots[-1].place
    across = (_WIDTH - _LEFT - 2 * _MARGIN) / (math.log(last / first) if last > first > 0 else 1)

    def right(place: float) -> float:
        return _LEFT + _MARGIN + (across * math.log(place / first) if last > first > 0 else (_WIDTH - _LEFT) / 3)

    parts = []
    for height in heights:
        parts.append(f'<path class="line" d="M{_LEFT} {up(height):.1f}H{_WIDTH}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 6}" y="{up(height) + 4:.1f}">{height:g}</text>')
    parts += [
        f'<text class="middle" x="{right(place):.1f}" y="{base + 15}">{place:g}</text>'
        for place in _round_places(first, last)
    ]
    parts.append(f'<text class="end" x="{_WIDTH}" y="{base + 30}">{escape(axis)}</text>')
    parts.append(f'<path class="level" d="M{_LEFT} {up(level[0]):.1f}H{_WIDTH}"/>')
    parts.append(f'<text x="{_LEFT + 4}" y="{up(level[0]) - 5:.1f}">{escape(level[1])}</text>')
    line = "L".join(f"{right(dot.place):.1f} {up(dot.height):.1f}" for dot in dots)
    parts.append(f'<path class="curve" d="M{line}"/>')
    named: list[float] = []
    for dot in sorted(dots, key=lambda dot: not dot.ringed):
        x, y = right(dot.place), up(dot.height)
        parts.append(f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        if dot.ringed:
            parts.append(f'<circle class="curve" cx="{x:.1f}" cy="{y:.1f}" r="7"/>')
        if dot.name and all(abs(x - other) >= _NAME for other in named):
            named.append(x)
            kind = "strong middle" if dot.ringed else "middle"
            y += 19 if y + 19 < base else -9
            parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(dot.name)}</text>')
    return _svg(parts, base + _BOTTOM + 15)


def stand_alone(chart: bytes, title: str) -> bytes:
    """The chart as a file of its own, with colours and a title."""
    head, rest = chart.split(b">", 1)
    back = "svg.chart { background: var(--back); }"
    own = f"<title>{escape(title)}</title><style>{PALETTE}{CHART_STYLE}{back}</style>"
    return head + b">" + own.encode() + rest


def nice_steps(top: float) -> list[float]:
    """Round numbers from 0 in equal steps, three or four of them, up to the first that is not below `top`."""
    if top <= 0:
        return [0.0, 1.0]
    step = _round_up(top / 3)
    return [step * number for number in range(math.ceil(top / step * (1 - 1e-9)) + 1)]


def _round_steps(low: float, high: float, most: int = 4) -> list[float]:
    """Round numbers in about `most` equal steps from one at `low` or below it to one at `high` or above it."""
    step = _round_up((high - low or abs(high) or 1.0) / most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{step * number:.12g}") for number in range(first, max(last, first + 1) + 1)]


def _round_places(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from `low` to `high`; where there is none, `low`."""
    if not 0 < low < high:
        return [low]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    places = [float(f"{factor}e{power}") for power in powers for factor in _STEPS[:3]]
    found = [place for place in places if low <= place <= high] or [low]
    return found if len(found) <= _MOST_PLACES else [place for place in found if f"{place:e}".startswith("1")] or found


def _round_up(size: float) -> float:
    """1, 2 or 5 times a power of ten, the first that is not below `size`."""
    power = 10.0 ** math.floor(math.log10(size))
    return power * next(factor for factor in _STEPS if factor * power >= size)


def number_labels(low: float, high: float) -> list[tuple[float, str]]:
    """For the only `Columns` of a chart, which reach from `low` to `high`: round numbers, at their places."""
    room = _WIDTH - _LEFT
    found = [((number - low) / (high - low), f"{number:g}") for number in _round_steps(low, high, _MOST_NUMBERS)]
    # In the middle of its place, the last one may not reach over the edge.
    return [(place, text) for place, text in found if 0 <= place <= 1 - _LETTER * len(text) / 2 / room or place == 1]


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
