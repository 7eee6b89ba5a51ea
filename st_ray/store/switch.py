"""What it takes to encode a store's rows again in the way that another store was made, by what that one measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from st_ray.store.lineage import Lineage, lineage_differences
from st_ray.store.manifest import Manifest

_OF_THE_INPUT = {
    *("input", "id_column", "text_columns", "columns", "quotes", "on_bad_row", "values"),
    *("shard_rows", "keep_text"),
}
"""Parts of an embedding store's lineage without influence on the embedding of a text."""


@dataclass(frozen=True)
class Switch:
    """Moving the old store's rows to how the new store was made.

    Attributes:
        because: what is made in another way, a line for each part; empty where embeddings can be reused.
        rows: to encode; 0 where embeddings can be reused.
        tokens: of them, by the mean of the texts that were encoded for the new store; None where that is not known.
        tokens_per_second: of all actors of the new store's last run; None where it did not say.
        actors: of that run.
        hours: at that rate.
        price: of that time for all those actors; None without a price of one.
    """

    because: tuple[str, ...]
    rows: int
    tokens: int | None
    tokens_per_second: float | None
    actors: int | None
    hours: float | None
    price: float | None


def switch_of(old: Manifest, new: Manifest, price_per_hour: float | None = None) -> Switch:
    """What it takes.

    Args:
        price_per_hour: of one actor.
    """
    because = tuple(lineage_differences(_making(old.lineage), _making(new.lineage)))
    rows = old.rows if because else 0
    length, rate = _tokens_per_text(new), _tokens_per_second(new.run)
    tokens = None if length is None else round(rows * length)
    hours = None if tokens is None or not rate else tokens / rate / 3600
    if not rows:
        hours = 0.0
    actors = new.run.get("actors")
    price = None if price_per_hour is None or hours is None or actors is None else price_per_hour * actors * hours
    return Switch(because, rows, tokens, rate, actors, hours, price)


def _making(lineage: Lineage) -> dict[str, Any]:
    return {name: value for name, value in lineage.items() if name not in _OF_THE_INPUT}


def _tokens_per_text(manifest: Manifest) -> float | None:
    """Of the texts that were encoded: neither taken from an older store nor the same as one before them."""
    figures = [entry.figures for entry in manifest.entries]
    if not all("tokens" in found for found in figures):
        return None
    tokens = sum(found["tokens"] for found in figures)
    spared = sum(found.get("reused", 0) + found.get("repeated", 0) for found in figures)
    encoded = manifest.rows - spared
    return tokens / encoded if encoded > 0 else None


def _tokens_per_second(run: Mapping[str, Any]) -> float | None:
    tokens, rows = run.get("tokens", 0), run.get("rows", 0)
    steady = run.get("rows_per_second_after_first_commit", 0.0)
    if tokens and rows and steady:
        return steady * tokens / rows
    return tokens / run["seconds"] if tokens and run.get("seconds") else None
