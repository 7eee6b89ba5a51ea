"""What pictures share: text from data, and axes that have a length."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_ray.core.figure import figure_text, metric_text, padded, svg_figure, unit_bins


def drawn(text: str) -> str:
    """The one text of a picture that shows nothing else."""

    def draw(figure) -> None:  # type: ignore[no-untyped-def]
        figure.text(0.5, 0.5, figure_text(text))

    root = ET.fromstring(svg_figure(draw))
    (element,) = root.iter("{http://www.w3.org/2000/svg}text")
    return element.text or ""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('<b> & "x"', '<b> & "x"'),
        ("$\\alpha$ or 5 $", "$\\alpha$ or 5 $"),
        ("a\\$b", "a\\$b"),
        ("$\\nothing{", "$\\nothing{"),
        ("漢字 عربي", "漢字 عربي"),
        ("two\nlines\x1b\x00", "two lines  "),
        ("lone \ud800", "lone  "),
        ("x" * 24, "x" * 24),
        ("a" * 13 + "b" * 12, "a" * 12 + "…" + "b" * 11),
    ],
)
def test_text_of_data_is_drawn_as_it_is(text: str, shown: str) -> None:
    assert drawn(text) == shown


def test_metrics() -> None:
    assert [metric_text(value) for value in (0.5, 1 / 3, float("nan"))] == ["0.5000", "0.3333", "undefined"]


@given(st.lists(st.floats(-1e30, 1e30), min_size=1), st.floats(0, 1))
def test_an_axis_has_a_length_and_shows_all(values: list[float], margin: float) -> None:
    low, high = padded(*values, margin=margin)
    assert low < high
    assert low <= min(values) and max(values) <= high


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bins", [10, 20])
def test_an_end_of_a_bin_is_in_the_bin_above(bins: int, dtype: type) -> None:
    ends = (np.arange(bins + 1) / bins).astype(dtype)
    assert unit_bins(ends, bins).tolist() == [*range(bins), bins - 1]
    middles = ((np.arange(bins) + 0.5) / bins).astype(dtype)
    assert unit_bins(middles, bins).tolist() == list(range(bins))
