"""The picture of a curve: the same bytes each time, and readable SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from st_ray.index.plot import curve_section, curve_svg
from st_ray.index.tune import Curve, Point

CURVE = Curve((Point(1, 0.4, 0.001), Point(2, 0.8, 0.002), Point(4, 0.97, 0.005)), 0.95, 4, True)


def test_a_curve() -> None:
    picture = curve_svg(CURVE, "IVF8 & <Flat>")
    assert picture == curve_svg(CURVE, "IVF8 & <Flat>")
    root = ET.fromstring(picture)
    texts = [element.text for element in root.iter() if element.text]
    assert texts[0] == "IVF8 & <Flat>"
    for text in ("target 0.95", "milliseconds a query; chosen: recall 0.970 in 5 ms", "1", "2", "4"):
        assert text in texts


def test_a_section_has_all_points_and_the_chart_without_colours_of_its_own() -> None:
    section = curve_section(CURVE, "nprobe")
    assert section.rows[0] == ("recall", "ms a query", "nprobe")
    assert section.rows[3] == ("0.9700", "5.000", "4")
    assert section.picture is not None
    assert b"#" not in section.picture
    assert b"#" in curve_svg(CURVE, "")


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_a_single_point(seconds: float) -> None:
    curve = Curve((Point(None, 1.0, seconds),), 0.95, None, True)
    assert b"chosen: recall 1.000" in curve_svg(curve, "Flat")
