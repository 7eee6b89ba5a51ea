"""The comparison as a page: how far embeddings moved, how many neighbours are the same, what is different."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from st_ray.core.figure import BLUE, svg_figure
from st_ray.core.page import Section, report_page
from st_ray.runtime.compare_stores.told import moved_line, overlap_line, switch_line, texts_line


def drift_page(about: Mapping[str, Any], of_run: Iterable[Section]) -> bytes:
    """The page, by what the manifest says; the sections `of_run` come last."""
    facts = {
        "old": f"{about['old']}, {about['old_rows']:,} rows",
        "new": f"{about['new']}, {about['new_rows']:,} rows",
        "rows": texts_line(about),
        "moved": moved_line(about),
        "neighbours": overlap_line(about),
        "to switch": switch_line(about),
    }
    return report_page("Drift", facts, [*_sections(about), *of_run])


def _sections(about: Mapping[str, Any]) -> Iterator[Section]:
    if about["movement"] is not None:
        yield _movement(about, about["movement"])
    if about["overlap"] is not None:
        yield _overlap(about["overlap"])
    if about["furthest"]:
        rows = [(str(id), f"{cosine:.6f}") for id, cosine in about["furthest"]]
        yield Section("Moved most", "Of the texts that were measured.", [("id", "cosine"), *rows])
    if about["differences"]:
        rows = [tuple(line.partition(": ")[::2]) for line in about["differences"]]
        yield Section(
            "Lineage", "What the stores were made from and how, where it differs.", [("part", "values"), *rows]
        )


def _movement(about: Mapping[str, Any], found: Mapping[str, Any]) -> Section:
    edges = np.linspace(found["low"], 1.0, len(found["counts"]) + 1)
    rows = [(name, f"{value:.6f}") for name, value in found["percentiles"].items()]
    rows.append(("mean", f"{found['mean']:.6f}"))

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.bar(edges[:-1], found["counts"], width=np.diff(edges), align="edge", color=BLUE)
        axes.set(xlabel="cosine to the embedding before", ylabel="texts")
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.tick_params(axis="x", labelrotation=30, labelsize=8)
        axes.grid(axis="y", linewidth=0.3)

    text = (
        f"Compared are {about['compared_as']}. The greatest difference in any dimension is "
        f"{found['max_difference']:.3g}; {found['identical']:,} of {found['texts']:,} are identical."
    )
    return Section("Movement", text, [("percentile", "cosine"), *rows], svg_figure(draw))


def _overlap(found: Mapping[str, Any]) -> Section:
    counts: Sequence[int] = found["counts"]
    rows = [(f"{shared}", f"{texts:,}", f"{texts / found['queries']:.1%}") for shared, texts in enumerate(counts)]

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.bar(range(len(counts)), counts, width=0.9, color=BLUE)
        axes.set(xlabel=f"neighbours in common, of {found['top_k']}", ylabel="texts")
        axes.grid(axis="y", linewidth=0.3)

    return Section(
        "Neighbours",
        f"How many of the {found['top_k']} nearest texts are the same in both stores, of {found['queries']:,} texts "
        f"among {found['corpus']:,}.",
        [("in common", "texts", "share"), *rows] if len(rows) <= 21 else (),
        svg_figure(draw),
    )
