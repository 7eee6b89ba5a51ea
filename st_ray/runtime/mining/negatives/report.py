"""The report of a run: how scores are distributed, what each filter dropped, and some rows of the result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from st_ray.core.figure import BLUE, ORANGE, legend_below, svg_figure
from st_ray.core.page import Section, report_page
from st_ray.mining.filters import Dropped
from st_ray.mining.negative_statistics import Report, Statistics
from st_ray.runtime.mining.negatives.distribution import SERIES, Distributions

_LONGEST = 160
"""Characters of a cell that are shown."""
_NAMES = {"count": "count", "mean": "mean", "std": "std", "least": "min", "quarter": "25%", "half": "50%"}
_NAMES |= {"three_quarters": "75%", "greatest": "max"}


def report_to_json(report: Report) -> dict[str, Any]:
    """The report as JSON values; what is not defined is null."""
    found = asdict(report)
    for name in SERIES:
        found[name] = {key: None if math.isnan(value) else value for key, value in found[name].items()}
    return found


def report_of_json(found: Mapping[str, Any]) -> Report:
    """The inverse of `report_to_json`."""
    positives, negatives, differences = (Statistics(**_defined(found[name])) for name in SERIES)
    dropped = tuple(Dropped(**part) for part in found["dropped"])
    return Report(positives, negatives, differences, found["candidates"], dropped, found["wanted"], found["missing"])


def _defined(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in figures.items()}


def negatives_page(
    about: Mapping[str, Any],
    lineage: Mapping[str, Any],
    report: Report,
    scores: Distributions,
    examples: pa.Table,
    of_run: Iterable[Section],
) -> bytes:
    """The report as a page of HTML; the sections `of_run` come last."""
    facts = {
        "model": about["model"],
        **({"cross-encoder": about["cross_encoder"]} if about["cross_encoder"] else {}),
        "scores": about["scores"],
        "queries": f"{about['queries']:,}; {about['complete']:,} have all {lineage['num_negatives']} negatives, "
        f"{about['without']:,} none",
        "pairs": f"{about['pairs']:,}, and {about['texts']['documents']:,} documents",
        "candidates": f"{about['candidates']:,}, of the closest {about['range_max']:,} documents of each query",
        "negatives": f"{about['negatives']:,}, {lineage['sampling_strategy']}",
    }
    sections = [
        Section("Scores", _READ, picture=_histograms(scores)),
        Section(
            "Statistics",
            "Over the rows of the result; a difference is a positive's score less a negative's.",
            _table(report),
        ),
    ]
    if report.dropped:
        sections.append(Section("Filters", "Each counts what those above it have left.", _drops(report)))
    sections.append(Section("Rows", rows=_rows(examples)) if len(examples) else Section("Rows", "There are none."))
    return report_page("Hard negatives", facts, [*sections, *of_run])


_READ = (
    "Hard negatives score close to positives. Those that score above them may be positives that nobody has marked: a "
    "margin or --max-score leaves them out."
)


def _histograms(scores: Distributions) -> bytes:
    """How the scores of positives and negatives lie to each other, as SVG."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for name, counts, color in zip(SERIES, scores.histograms, (BLUE, ORANGE), strict=False):
            shares = counts / max(1, counts.sum())
            axes.stairs(shares, scores.edges, fill=True, color=color, alpha=0.25)
            axes.stairs(shares, scores.edges, color=color, linewidth=1.5, label=f"{name}: {counts.sum():,}")
        axes.set(xlabel="score", ylabel="share", xlim=(scores.edges[0], scores.edges[-1]))
        axes.grid(linewidth=0.3)
        legend_below(figure, columns=2)

    return svg_figure(draw, (6.0, 3.6))


def _table(report: Report) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("", *SERIES)]
    columns = [asdict(part) for part in (report.positives, report.negatives, report.differences)]
    for key, name in _NAMES.items():
        rows.append((name, *(f"{column[key]:,}" if key == "count" else f"{column[key]:.4f}" for column in columns)))
    return rows


def _drops(report: Report) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("filter", "threshold", "dropped", "share")]
    total = max(1, report.candidates)
    return rows + [
        (part.name, f"{part.value:g}", f"{part.count:,}", f"{part.count / total:.2%}") for part in report.dropped
    ]


def _rows(examples: pa.Table) -> list[tuple[str, ...]]:
    body = [tuple(_cell(value) for value in row.values()) for row in examples.to_pylist()]
    return [tuple(examples.column_names), *body]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):
        return _shortened(" | ".join(map(_cell, value)), 4 * _LONGEST)
    return _shortened(" ".join(str(value).split()), _LONGEST)


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
