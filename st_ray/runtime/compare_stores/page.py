"""The comparison as a page: how far embeddings moved, how many neighbours are the same, what is different."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from st_ray.core.chart import Columns, column_chart
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


def drift_sections(about: Mapping[str, Any]) -> Iterator[Section]:
    """How far embeddings moved and whether neighbours are the same, where either was measured."""
    if about["movement"] is not None:
        yield _movement(about["compared_as"], about["movement"])
    if about["overlap"] is not None:
        yield _overlap(about["overlap"])


def _sections(about: Mapping[str, Any]) -> Iterator[Section]:
    yield from drift_sections(about)
    if about["furthest"]:
        rows = [(str(id), f"{cosine:.6f}") for id, cosine in about["furthest"]]
        yield Section("Moved most", "Of the texts that were measured.", [("id", "cosine"), *rows])
    if about["differences"]:
        rows = [tuple(line.partition(": ")[::2]) for line in about["differences"]]
        yield Section(
            "Lineage", "What the stores were made from and how, where it differs.", [("part", "values"), *rows]
        )


def _movement(compared_as: str, found: Mapping[str, Any]) -> Section:
    rows = [(name, f"{value:.6f}") for name, value in found["percentiles"].items()]
    rows.append(("mean", f"{found['mean']:.6f}"))
    labels = [(place, f"{found['low'] + place * (1 - found['low']):.6f}") for place in (0.0, 0.5, 1.0)]
    chart = column_chart([Columns(np.asarray(found["counts"]), labels)])
    text = (
        "How many texts have which cosine to their embedding before. "
        f"Compared are {compared_as}. The greatest difference in any dimension is "
        f"{found['max_difference']:.3g}; {found['identical']:,} of {found['texts']:,} are identical."
    )
    return Section("Movement", text, [("percentile", "cosine"), *rows], chart)


def _overlap(found: Mapping[str, Any]) -> Section:
    counts: Sequence[int] = found["counts"]
    rows = [(f"{shared}", f"{texts:,}", f"{texts / found['queries']:.1%}") for shared, texts in enumerate(counts)]
    shown: Sequence[int] = [0, len(counts) - 1] if len(counts) > 21 else range(len(counts))
    labels = [((shared + 0.5) / len(counts), f"{shared}") for shared in shown]
    return Section(
        "Neighbours",
        f"How many of the {found['top_k']} nearest texts are the same in both stores, of {found['queries']:,} texts "
        f"among {found['corpus']:,}.",
        [("in common", "texts", "share"), *rows] if len(rows) <= 21 else (),
        column_chart([Columns(np.asarray(counts), labels)]),
    )
