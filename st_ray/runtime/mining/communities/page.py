"""The report of a run as a page: how large the communities are, and rows of the largest ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from st_ray.core.figure import BLUE, svg_figure
from st_ray.core.page import Section, report_page
from st_ray.runtime.mining.communities.config import DetectCommunitiesConfig
from st_ray.scoring.vectors import StoredVectors

PAGE = "report.html"
_LONGEST = 160
"""Characters of a text that are shown."""


def report(
    config: DetectCommunitiesConfig,
    store: StoredVectors,
    about: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]],
) -> bytes:
    """The page; rows are shown by their texts where the store keeps them, and by their ids.

    Args:
        about: of the manifest.
        samples: of the largest communities, in order: size, and members by rank, row and score.
    """
    facts = {
        "embeddings": f"{store.folder}, {store.rows:,} rows",
        "threshold": f"cosine of at least {config.threshold:g} to the centre",
        "communities": f"{about['communities']:,} of at least {config.min_community_size:,} rows",
        "rows in one": f"{about['rows_in_communities']:,} ({percent(about['rows_in_communities'], store.rows)})",
        "rows with enough neighbours": f"{about['rows_with_enough_neighbours']:,}",
        "largest": f"{about['largest']:,} rows; the median is {about['median']:,g}, the smallest {about['smallest']:,}",
    }
    title = "Communities"
    if not samples:
        return report_page(title, facts, [Section("None found", "A lower threshold or a smaller size finds more.")])
    shown = _texts(store, [member["row"] for sample in samples for member in sample["members"]])
    return report_page(
        title, facts, [_sizes(about["sizes"], about["rows_in_communities"]), *_largest(samples, iter(shown))]
    )


def percent(part: int, whole: int) -> str:
    """`12.3%`."""
    return f"{100 * part / max(whole, 1):.1f}%"


def _sizes(bins: Sequence[Mapping[str, int]], rows: int) -> Section:
    names = [f"{bin['from']:,}" if bin["from"] == bin["to"] else f"{bin['from']:,}–{bin['to']:,}" for bin in bins]
    cells = [
        (name, f"{bin['communities']:,}", f"{bin['rows']:,}", percent(bin["rows"], rows))
        for name, bin in zip(names, bins, strict=True)
    ]

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        counts = [bin["communities"] for bin in bins]
        bars = axes.bar(range(len(bins)), counts, width=0.9, color=BLUE)
        axes.bar_label(bars, [f"{count:,}" if count else "" for count in counts], fontsize=8)
        axes.set_yscale("log" if max(counts) > 100 else "linear")
        axes.set_ylim(bottom=0.5 if max(counts) > 100 else 0)
        axes.set_xticks(range(len(bins)), [f"{bin['from']:,}" for bin in bins], rotation=45, ha="right", fontsize=8)
        axes.set(xlabel="rows, from", ylabel="communities")
        axes.margins(y=0.12)
        axes.grid(axis="y", linewidth=0.3)

    return Section(
        "Sizes",
        "How many communities have how many rows, and which share of all rows in communities these are.",
        [("rows", "communities", "rows in them", "share"), *cells],
        svg_figure(draw),
    )


def _largest(samples: Sequence[Mapping[str, Any]], shown: Any) -> list[Section]:
    sections = []
    for number, sample in enumerate(samples):
        rows = [(f"{member['rank']:,}", f"{member['score']:.4f}", *next(shown)) for member in sample["members"]]
        names = ("rank", "cosine", "id", "text")[: len(rows[0])]
        sections.append(Section(f"Community {number}: {sample['size']:,} rows", "", [names, *rows]))
    return sections


def _texts(store: StoredVectors, rows: Sequence[int]) -> list[tuple[str, ...]]:
    """The id of each row and, where they are kept, its text."""
    names = ["id", "text"] if store.lineage.get("keep_text") else ["id"]
    found = store.columns_at(names, np.array(rows, np.int64)).to_pydict()
    return [tuple(_short(str(value)) for value in values) for values in zip(*found.values(), strict=True)]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
