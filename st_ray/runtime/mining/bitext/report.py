"""The report of a run: which thresholds keep how many pairs, and what such pairs look like."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from st_ray.core.figure import BLUE, GREY, ORANGE, legend_below, padded, svg_figure
from st_ray.core.page import Section, report_page
from st_ray.runtime.mining.bitext.staging import read_margins, read_pairs
from st_ray.scoring.vectors import StoredVectors

LEVELS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
"""Of the quantiles of the margin."""
_BINS = 60
_BEYOND = 0.001
"""Share of the pairs at each end whose margins are drawn in the last bin, so that a few do not stretch the picture."""
_SHOWN = 10
_STEPS = 20
_LONGEST = 160
"""Characters of a text that are shown."""


@dataclass(frozen=True)
class Outline:
    """What a reader wants to know of chosen pairs; small, whatever their number.

    Attributes:
        quantiles: margins of the kept pairs at `LEVELS`; none where there is no pair.
        edges: of the bins of a histogram, float64 `[bins + 1]`.
        kept: pairs of each bin that the threshold keeps, int64 `[bins]`.
        dropped: pairs of each bin that it does not.
        examples: by heading, rows of margin, source and target.
    """

    quantiles: Mapping[float, float]
    edges: np.ndarray
    kept: np.ndarray
    dropped: np.ndarray
    examples: Mapping[str, Sequence[tuple[str, str, str]]]


def outline_of(source: StoredVectors, target: StoredVectors, chosen: str, batch_rows: int, kept: int) -> list[Outline]:
    """The outline of the pairs in the file `chosen`, of which the threshold keeps the first `kept`.

    Memory: some 30 bytes a pair. Raises InputError where a file or a part of a store is missing or damaged.
    """
    # A ratio of means that are next to nothing may be infinite.
    margins = np.nan_to_num(read_margins(chosen)).astype(np.float64)
    quantiles = {level: float(margins[round((1 - level) * (kept - 1))]) for level in LEVELS} if kept else {}
    ends = [margins[round(share * (len(margins) - 1))] for share in (_BEYOND, 1 - _BEYOND)] if len(margins) else [0]
    edges = np.linspace(*padded(*ends, margin=0), _BINS + 1)
    drawn = np.clip(margins, edges[0], edges[-1])
    above, below = (np.histogram(part, edges)[0] for part in (drawn[:kept], drawn[kept:]))
    ranks = {name: some for name, some in _ranks(kept, len(margins)).items() if len(some)}
    lines = _lines(source, target, chosen, batch_rows, np.unique(np.concatenate([*ranks.values(), []])).astype(int))
    examples = {name: [lines[rank] for rank in some] for name, some in ranks.items()}
    return [Outline(quantiles, edges, above, below, examples)]


def _ranks(kept: int, pairs: int) -> dict[str, list[int]]:
    """The pairs that are shown, by heading."""
    steps = np.unique(np.linspace(0, kept - 1, min(kept, _STEPS + 1)).astype(int))
    return {
        "The best pairs": list(range(min(_SHOWN, kept))),
        f"From best to worst, in steps of {100 // _STEPS} % of the pairs": steps.tolist(),
        "The last pairs that are kept": list(range(max(0, kept - _SHOWN), kept)),
        "The first pairs below the threshold": list(range(kept, min(kept + _SHOWN, pairs))),
    }


def _lines(
    source: StoredVectors, target: StoredVectors, chosen: str, batch_rows: int, ranks: np.ndarray
) -> dict[int, tuple[str, str, str]]:
    """Margin, source and target of the pairs of these ranks, which rise."""
    lines: dict[int, tuple[str, str, str]] = {}
    for batch in np.unique(ranks // batch_rows).tolist():
        here = ranks[ranks // batch_rows == batch]
        pairs = read_pairs(chosen, batch)[here - batch * batch_rows]
        margins = [f"{margin:.4f}" for margin in pairs.margin.tolist()]
        sides = _named(source, pairs.source), _named(target, pairs.target)
        lines |= zip(here.tolist(), zip(margins, *sides, strict=True), strict=True)
    return lines


def _named(store: StoredVectors, positions: np.ndarray) -> list[str]:
    """Rows as they are shown: their ids, and their texts where the store has them."""
    if not store.lineage.get("keep_text"):
        return [str(identity) for identity in store.columns_at(["id"], positions)["id"].to_pylist()]
    table = store.columns_at(["id", "text"], positions)
    return [f"{row['id']}: {_on_one_line(row['text'])}" for row in table.to_pylist()]


def _on_one_line(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def bitext_page(
    about: Mapping[str, Any], lineage: Mapping[str, Any], outline: Outline, of_run: Iterable[Section]
) -> bytes:
    """The report as a page of HTML; the sections `of_run` come last."""
    threshold, kept = lineage["threshold"], about["pairs"]
    facts = {
        "source": f"{about['source']}, {about['source_rows']:,} rows",
        "target": f"{about['target']}, {about['target_rows']:,} rows",
        "scores": about["scores"],
        "candidates": f"{about['candidates_forward']:,} by source, {about['candidates_backward']:,} by target, "
        f"{about['candidates_mutual']:,} of them the same",
        "pairs": f"{kept:,} by retrieval {lineage['retrieval']}"
        + (f"; threshold {threshold:g} leaves out {about['below_threshold']:,}" if threshold is not None else ""),
    }
    if not outline.examples:
        return report_page("Bitext", facts, [Section("No pairs"), *of_run])
    sections = [Section("Margins", _READ[lineage["margin"]], picture=margin_histogram(outline, threshold))]
    if kept:
        sections.append(Section("Thresholds", "What a threshold keeps of these pairs.", _thresholds(outline, kept)))
    sections += [Section(name, rows=[_HEAD, *rows]) for name, rows in outline.examples.items()]
    return report_page("Bitext", facts, [*sections, *of_run])


def _thresholds(outline: Outline, kept: int) -> list[tuple[str, ...]]:
    """A table: how many pairs reach which margin, which is rounded down, so that none of them is lost."""
    rows = [
        (f"{1 - level:.0%}", f"{1 + round((1 - level) * (kept - 1)):,}", f"{math.floor(margin * 1e4) / 1e4:.4f}")
        for level, margin in sorted(outline.quantiles.items(), reverse=True)
    ]
    return [("share", "pairs", "--threshold"), *rows]


_HEAD = ("margin", "source", "target")
_READ = {
    "ratio": "Noise gathers at 1, where a cosine is what its neighbourhood has anyway; translations lie above. "
    "A good threshold is where the one ends and the other begins.",
    "distance": "Noise gathers at 0, where a cosine is what its neighbourhood has anyway; translations lie above. "
    "A good threshold is where the one ends and the other begins.",
    "absolute": "Cosines: texts that are close to everything have high ones, translations or not.",
}


def margin_histogram(outline: Outline, threshold: float | None) -> bytes:
    """How many pairs have which margin, as SVG; those that the threshold drops apart."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        series = (("kept", outline.kept, BLUE), ("below the threshold", outline.dropped, GREY))
        for name, counts, color in series:
            if counts.any():
                label = f"{name}: {counts.sum():,}"
                axes.stairs(counts, outline.edges, fill=True, color=color, alpha=0.6, label=label)
        if threshold is not None:
            axes.axvline(threshold, color=ORANGE, linewidth=2, label=f"threshold {threshold:g}")
        axes.set(xlabel="margin", ylabel="pairs", xlim=(outline.edges[0], outline.edges[-1]))
        axes.grid(linewidth=0.3)
        legend_below(figure, columns=2)

    return svg_figure(draw, (6.0, 3.6))
