"""The picture of a curve: the same bytes each time, and readable SVG."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET

import pytest

from st_ray.core.errors import ResourceError
from st_ray.index.plot import curve_svg
from st_ray.index.tune import Curve, Point

CURVE = Curve((Point(1, 0.4, 0.001), Point(2, 0.8, 0.002), Point(4, 0.97, 0.005)), 0.95, 4, True)


def test_a_curve() -> None:
    picture = curve_svg(CURVE, "IVF8 & <Flat>")
    assert picture == curve_svg(CURVE, "IVF8 & <Flat>")
    assert ET.fromstring(picture).tag.endswith("svg")
    for text in ("IVF8 &amp; &lt;Flat&gt;", "target 0.95", "chosen: 0.970 in 5 ms", "milliseconds per query", "recall"):
        assert text in picture.decode()


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_a_single_point(seconds: float) -> None:
    curve = Curve((Point(None, 1.0, seconds),), 0.95, None, True)
    assert b"chosen: 1.000" in curve_svg(curve, "Flat")


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ResourceError, match="pip install matplotlib"):
        curve_svg(CURVE, "title")
