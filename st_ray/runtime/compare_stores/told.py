"""The findings of a comparison in words, for the summary and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from st_ray.core.summary import human_seconds


def texts_line(about: Mapping[str, Any]) -> str:
    """Which rows came and went."""
    return f"{about['unchanged']:,} unchanged, {about['added']:,} added, {about['gone']:,} gone"


def moved_line(about: Mapping[str, Any]) -> str:
    """How far embeddings moved, or why that cannot be said."""
    found = about["movement"]
    if found is None:
        return f"not defined: {about['unmoved']}"
    texts = f"{found['texts']:,} of {about['texts']:,} texts"
    if found["identical"] == found["texts"]:
        return f"not at all: the embeddings of {texts} are the same to the last bit"
    at = found["percentiles"]
    return (
        f"cosine {found['mean']:.6f} on average, {at['min']:.6f} the least, {at['p5']:.6f} below which 5 % lie; "
        f"{found['identical']:,} identical; by {texts}"
    )


def overlap_line(about: Mapping[str, Any]) -> str:
    """Whether neighbours are the same."""
    found = about["overlap"]
    if found is None:
        return "not measured: the stores have fewer than two texts in common"
    similarities = " and ".join(dict.fromkeys(about["similarities"]))
    return (
        f"{found['mean']:.1%} of the {found['top_k']} nearest are the same, the nearest one for {found['nearest']:.1%} "
        f"of {found['queries']:,} texts among {found['corpus']:,}, by {similarities}"
    )


def switch_line(about: Mapping[str, Any]) -> str:
    """What it takes to make all of the old store's embeddings as the new one's are."""
    found = about["switch"]
    if not found["rows"]:
        return "nothing: made in the same way, so that jobs.encode --reuse takes them over"
    parts = [f"{found['rows']:,} rows of the old store to encode"]
    if found["tokens"] is not None:
        parts.append(f"about {found['tokens']:,} tokens")
    if found["hours"] is None:
        parts.append("how long is not known: the new store does not say how fast it was made")
    else:
        took = human_seconds(3600 * found["hours"])
        parts.append(
            f"{took} with {found['actors'] or '?'} actors, at {found['tokens_per_second']:,.0f} tokens/s in all"
        )
    if found["price"] is not None:
        parts.append(f"{found['price']:,.2f} in all")
    return ", ".join(parts)
