"""The report page beside the pairs: how scores are spread, and what pairs look like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from st_ray.core.figure import BLUE, padded, svg_figure
from st_ray.core.page import Section, report_page
from st_ray.runtime.mining.paraphrases.write import Survey
from st_ray.store.manifest import Manifest
from st_ray.store.pairs import read_pairs

_SHOWN = 12
"""Pairs of a table."""
_LONGEST = 240
"""Characters of a text."""


def report(folder: str, manifest: Manifest, seen: Survey, of_run: Iterable[Section]) -> bytes:
    """The page; the sections `of_run` come last. Raises InputError where a part cannot be read."""
    about = manifest.about
    recall = about["recall"]
    by_index = f"by {about['factory']}, {about['index']}"
    facts = {
        "embeddings": f"{about['embeddings']}, {about['rows']:,} rows",
        "compared": "all rows with all others" if about["index"] is None else by_index,
        "pairs": f"{about['pairs']:,}, of the best {about['top_k']:,} of each row",
        "rows in no pair": f"{about['rows_in_no_pair']:,}",
    }
    if recall and recall["recall"] is not None:
        facts["recall"] = f"{recall['recall']:.4f}: {recall['found']:,} of {recall['pairs']:,} pairs"
    if about["min_score"] is not None:
        facts["least score"] = f"{about['min_score']:g}"
    found = _sections(folder, manifest, seen) if manifest.rows else ()
    return report_page("Paraphrases", facts, [*found, *of_run])


def _sections(folder: str, manifest: Manifest, seen: Survey) -> Iterator[Section]:
    name = manifest.about["similarity"]
    yield Section("Scores", f"{manifest.rows:,} pairs by their {name}.", picture=_histogram(seen, name))
    first = np.arange(min(_SHOWN, manifest.rows))
    even = np.unique(np.linspace(0, manifest.rows - 1, len(first)).astype(int))
    for title, numbers in (
        ("From the best to the last, in even steps", even),
        ("The best pairs", first),
        ("The last pairs", manifest.rows - 1 - first[::-1]),
    ):
        yield Section(title, rows=_table(_pairs(folder, manifest, numbers)))


def _pairs(folder: str, manifest: Manifest, numbers: np.ndarray) -> pa.Table:
    """The pairs of these numbers, which rise."""
    tables = []
    first = 0
    for entry in manifest.entries:
        here = numbers[(numbers >= first) & (numbers < first + entry.rows)]
        if len(here):
            tables.append(read_pairs(folder, entry).take(pa.array(here - first)))
        first += entry.rows
    return pa.concat_tables(tables)


def _table(pairs: pa.Table) -> list[tuple[str, ...]]:
    columns = ["score", *(("text_1", "text_2") if "text_1" in pairs.column_names else ("id_1", "id_2"))]
    return [tuple(columns), *(tuple(_cell(row[name]) for name in columns) for row in pairs.to_pylist())]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _histogram(seen: Survey, name: str) -> bytes:
    edges = np.linspace(*padded(seen.last, seen.best, margin=0), len(seen.counts) + 1)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.stairs(seen.counts, edges, fill=True, color=BLUE, alpha=0.6)
        axes.set(xlabel=name, ylabel="pairs")
        axes.grid(linewidth=0.3)

    return svg_figure(draw)
