"""How scores are distributed, added up over what each shard counted of its own; no score is read again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from st_ray.core.chart import Columns, column_chart, number_labels
from st_ray.core.histogram import Histogram
from st_ray.core.page import Section

if TYPE_CHECKING:
    from st_ray.runtime.stage_result import StageResult

_QUARTERS = (0.25, 0.5, 0.75)


def counted(scores: Mapping[str, np.ndarray]) -> dict[str, str]:
    """For a `Part`: how its scores, float32, are distributed, by what they are of."""
    return {name: Histogram.of(values).to_text() for name, values in scores.items()}


def score_sections(stage: StageResult) -> Iterator[Section]:
    """A histogram of the scores of each kind that the parts of a stage, those of earlier runs too, have counted."""
    # Parts of an older release have none.
    names = dict.fromkeys(name for commit in stage.commits for name in commit.scores)
    for name in names:
        found = (commit.scores[name] for commit in stage.commits if name in commit.scores)
        total = Histogram.merged(map(Histogram.from_text, found))
        if total.total:
            yield _section(name, total)


def _section(name: str, found: Histogram) -> Section:
    places = max(0, math.ceil(-math.log10(found.width)))
    title, total = f"Scores of {name}", f"{found.total:,}"
    if len(found.counts) == 1:
        low, high = (f"{score:,.{places}f}" for score in found.ends)
        return Section(title, f"All {total} lie between {low} and {high}.")
    low, middle, high = (f"{score:,.{places}f}" for score in found.quantiles(_QUARTERS))
    text = f"How many of {total} have which score; half of them lie between {low} and {high}, the median is {middle}."
    columns = Columns(found.counts, number_labels(*found.ends))
    return Section(title, text, picture=column_chart([columns]))
