"""The report of a run as a page: how large the communities are, and rows of the largest ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from st_ray.core.figure import BLUE, svg_figure
from st_ray.core.page import Section, report_page
from st_ray.runtime.mining.communities.config import DetectCommunitiesConfig
from st_ray.scoring.vectors import StoredVectors

_LONGEST = 160
"""Characters of a text that are shown."""
_MANY = 100
"""Communities of one size, above which their numbers are drawn on a logarithmic scale."""


def report(
    config: DetectCommunitiesConfig,
    store: StoredVectors,
    about: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]],
    of_run: Iterable[Section],
) -> bytes:
    """The page; rows are shown by their texts where the store keeps them, and by their ids.

    Args:
        about: of the manifest.
        samples: of the largest communities, in order: size, and members by rank, row and score.
        of_run: sections that come last.
    """
    facts = {
        "embeddings": f"{store.folder}, {store.rows:,} rows",
        "threshold": f"cosine of at least {config.threshold:g} to the centre",
        "communities": f"{about['communities']:,} of at least {config.min_community_size:,} rows",
        "rows in one": f"{about['rows_in_communities']:,} ({percent(about['rows_in_communities'], store.rows)})",
        "rows with enough neighbours": f"{about['rows_with_enough_neighbours']:,}",
        "largest": f"{about['largest']:,} rows; the median is {about['median']:,g}, the smallest {about['smallest']:,}",
    }
    if not samples:
        none = Section("None found", "A lower threshold or a smaller size may do.")
        return report_page("Communities", facts, [none, *of_run])
    shown = _texts(store, [member["row"] for sample in samples for member in sample["members"]])
    sections = [_sizes(about["sizes"], about["rows_in_communities"]), *_largest(samples, iter(shown)), *of_run]
    return report_page("Communities", facts, sections)


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
        many = max(counts) > _MANY
        bars = axes.bar(range(len(bins)), counts, width=0.9, color=BLUE)
        axes.bar_label(bars, [f"{count:,}" if count else "" for count in counts], fontsize=8)
        axes.set_yscale("log" if many else "linear")
        axes.set_ylim(0.5 if many else 0, max(counts) * (2 if many else 1.1))
        axes.set_xticks(range(len(bins)), names, rotation=30, ha="right", fontsize=8)
        axes.set(xlabel="rows", ylabel="communities")
        axes.grid(axis="y", linewidth=0.3)

    return Section(
        "Sizes",
        "How many communities have how many rows, and which share of all rows in communities these are.",
        [("rows", "communities", "rows in them", "share"), *cells],
        svg_figure(draw),
    )


def _largest(samples: Sequence[Mapping[str, Any]], shown: Iterator[tuple[str, ...]]) -> Iterator[Section]:
    text = "The centre, the rows nearest to it, and the farthest ones; of the other communities below as well."
    for number, sample in enumerate(samples):
        rows = [(f"{member['rank']:,}", f"{member['score']:.4f}", *next(shown)) for member in sample["members"]]
        head = ("rank", "cosine", "id", "text")[: len(rows[0])]
        yield Section(f"Community {number}: {sample['size']:,} rows", "" if number else text, [head, *rows])


def _texts(store: StoredVectors, rows: Sequence[int]) -> list[tuple[str, ...]]:
    """The id of each row and, where they are kept, its text."""
    names = ["id", "text"] if store.lineage.get("keep_text") else ["id"]
    found = store.columns_at(names, np.array(rows, np.int64)).to_pydict()
    return [tuple(_short(str(value)) for value in values) for values in zip(*found.values(), strict=True)]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
