"""Charts drawn here: well-formed, to scale, and in no colour of their own."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_ray.core.chart import (
    Columns,
    Dot,
    bar_chart,
    column_chart,
    line_chart,
    nice_steps,
    number_labels,
    short_number,
    stand_alone,
)


def of_class(svg: bytes, name: str) -> list[ET.Element]:
    return [element for element in ET.fromstring(svg).iter() if element.get("class") == name]


def corners(path: ET.Element) -> list[tuple[float, float]]:
    """Left, right and top of each column of an outline."""
    left = float(re.match(r"M([\d.]+) ", path.get("d", ""))[1])  # type: ignore[index]
    steps = re.findall(r"V([\d.]+)H([\d.]+)", path.get("d", ""))
    edges = [left, *(float(right) for _, right in steps)]
    return [(right - left, float(top)) for left, right, (top, _) in zip(edges, edges[1:], steps, strict=False)]


@given(st.floats(1e-6, 1e12))
def test_steps_are_round_few_and_reach_the_top(top: float) -> None:
    steps = nice_steps(top)
    assert steps[0] == 0
    assert 3 <= len(steps) <= 5
    assert steps[-2] < top <= steps[-1] * (1 + 1e-6)
    assert f"{steps[1]:.0e}"[0] in "125"


def test_columns_are_to_scale() -> None:
    svg = column_chart([Columns(np.array([1.0, 3.0, 0.0]))])
    (mark,) = of_class(svg, "mark")
    (wide, one), (wider, three), (widest, nothing) = corners(mark)
    assert wide == pytest.approx(wider, abs=0.2) == pytest.approx(widest, abs=0.2)
    assert nothing - three == pytest.approx(3 * (nothing - one), abs=0.2)
    lines = {text.text: float(text.get("y", "")) - 4 for text in of_class(svg, "end")}
    assert lines["3"] == pytest.approx(three, abs=0.2)
    assert lines["0"] == pytest.approx(nothing, abs=0.2)


def test_groups_stand_apart_by_their_widths() -> None:
    svg = column_chart([Columns(np.ones(4), [(0.5, "1")], 3.0), Columns(np.ones(1), [(0.5, "2")], 1.0)])
    first, second = (sum(width for width, _ in corners(mark)) for mark in of_class(svg, "mark"))
    assert first == pytest.approx(3 * second, abs=0.5)
    assert [text.text for text in of_class(svg, "middle")] == ["1", "2"]


def test_bars_are_to_scale_and_their_names_are_text() -> None:
    svg = bar_chart([("<a> & b", 2.0, "2 s"), ("c", 0.5, "½ s"), ("none", 0.0, "")])
    widths = [float(mark.get("width", "")) for mark in of_class(svg, "mark")]
    assert widths[0] == 4 * widths[1] > widths[2] == 0
    assert [text.text for text in of_class(svg, "strong")] == ["<a> & b", "c", "none"]


@pytest.mark.parametrize("svg", [column_chart([Columns(np.zeros(3))]), bar_chart([("nothing", 0.0, "0 s")])])
def test_nothing_to_draw(svg: bytes) -> None:
    assert b"nan" not in svg
    assert ET.fromstring(svg).get("class") == "chart"


def test_colours_are_those_of_the_page() -> None:
    svg = column_chart([Columns(np.ones(2))]) + bar_chart([("a", 1.0, "b")])
    assert not re.search(rb"#[0-9a-f]{3}|fill=|stroke=|style=", svg)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.05, "0.05"), (950, "950"), (9500, "9,500"), (12_000, "12k"), (3_500_000, "3.5M"), (2e9, "2G")],
)
def test_short_numbers(value: float, text: str) -> None:
    assert short_number(value) == text


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
def test_numbers_below_columns_stand_at_their_places(low: float, length: float) -> None:
    labels = number_labels(low, low + length)
    assert 2 <= len(labels) <= 7
    for place, text in labels:
        assert 0 <= place <= 1
        assert low + place * length == pytest.approx(float(text), abs=1e-3 * length + 1e-5 * abs(low))
    svg = ET.fromstring(column_chart([Columns(np.ones(9), labels)]))
    assert {text for _, text in labels} <= {element.text for element in svg.iter()}


SHARES = st.floats(0, 1, allow_subnormal=False)


@given(
    st.lists(st.tuples(st.floats(1e-6, 1e6), SHARES), min_size=1, max_size=9, unique_by=lambda dot: dot[0]),
    SHARES,
)
def test_dots_are_to_scale(places: list[tuple[float, float]], level: float) -> None:
    dots = [Dot(place, height) for place, height in sorted(places)]
    svg = line_chart(dots, (level, "level"), "axis")
    marks = [(float(mark.get("cx", "")), float(mark.get("cy", ""))) for mark in of_class(svg, "mark")]
    assert len(marks) == len(dots)
    assert [x for x, _ in marks] == sorted(x for x, _ in marks)
    assert all(46 <= x <= 400 for x, _ in marks)
    lines = {float(text.text or ""): float(text.get("y", "")) - 4 for text in of_class(svg, "end")[:-1]}
    (low, bottom), (high, top) = min(lines.items()), max(lines.items())
    assert low <= min(level, *(dot.height for dot in dots), 1.0) + 1e-9
    for dot, (_, y) in zip(dots, marks, strict=True):
        assert (bottom - y) * (high - low) == pytest.approx((dot.height - low) * (bottom - top), abs=0.3 * (high - low))


def test_equal_factors_are_equal_lengths() -> None:
    svg = line_chart([Dot(0.1, 0.2), Dot(1, 0.5), Dot(10, 0.9)], (0.5, ""), "axis")
    left, middle, right = (float(mark.get("cx", "")) for mark in of_class(svg, "mark"))
    assert right - middle == pytest.approx(middle - left, abs=0.2)
    assert {"0.1", "1", "10"} <= {text.text for text in of_class(svg, "middle")}


def test_names_do_not_lie_over_each_other_and_the_ringed_one_has_its() -> None:
    dots = [Dot(1, 0.1, "a"), Dot(1.01, 0.2, "<b>", ringed=True), Dot(9, 0.9, "c")]
    root = ET.fromstring(stand_alone(line_chart(dots, (0.5, ""), "axis"), "<title>"))
    assert root[0].text == "<title>"
    texts = {element.text for element in root.iter() if element.tag.endswith("text")}
    assert {"<b>", "c"} <= texts
    assert "a" not in texts
