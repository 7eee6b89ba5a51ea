"""Exact search over an embedding store, part by part: memory holds one row group of the corpus at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from st_ray.core.errors import InputError
from st_ray.scoring.topk import TopK
from st_ray.store.embeddings import embedding_array, open_embeddings, read_part


@dataclass(frozen=True)
class StoreHits:
    """The nearest rows of a store for one query, best first: their positions in the store, ids, scores and texts."""

    positions: np.ndarray
    ids: list[Any]
    scores: np.ndarray
    texts: list[str | None]


def search_store(folder: str, queries: np.ndarray, k: int) -> list[StoreHits]:
    """The `k` rows with the greatest dot product for each of `queries`, float32 `[q, d]`.

    With normalised embeddings on both sides that is the cosine similarity. Ties go to the earlier row.

    Raises:
        InputError: not an embedding store, one of integers or bits, a damaged part, or queries of another dimension.
    """
    manifest = open_embeddings(folder)
    precision = manifest.lineage.get("precision", "float32")
    if precision not in ("float32", "float16"):
        raise InputError(f"{folder} holds {precision} embeddings, which exact search does not read", "encode to floats")
    dimension = manifest.about["dimension"]
    if queries.shape[1] != dimension:
        raise InputError(
            f"queries have {queries.shape[1]} dimensions, {folder} has {dimension}", "use the same model for both"
        )
    best, first = TopK(len(queries), k), 0
    for entry in manifest.entries:
        for table in read_part(folder, entry, ["embedding"]):
            corpus = embedding_array(table["embedding"]).astype(np.float32, copy=False)
            best.absorb(queries @ corpus.T, first)
            first += len(corpus)
    scores, positions = best.finish()
    columns = _look_up(folder, np.unique(np.concatenate(positions)) if positions else np.empty(0, np.int64))
    return [
        StoreHits(found, [columns[p][0] for p in found.tolist()], score, [columns[p][1] for p in found.tolist()])
        for found, score in zip(positions, scores, strict=True)
    ]


def _look_up(folder: str, positions: np.ndarray) -> dict[int, tuple[Any, str | None]]:
    """Id and text (None where the store keeps none) of the rows at `positions`, which are sorted."""
    manifest, found, first = open_embeddings(folder), {}, 0
    names = ["id", "text"] if manifest.lineage.get("keep_text") else ["id"]
    for entry in manifest.entries:
        here = positions[np.searchsorted(positions, first) : np.searchsorted(positions, first + entry.rows)] - first
        offset = 0
        for table in read_part(folder, entry, names) if len(here) else ():
            local = here[(here >= offset) & (here < offset + len(table))] - offset
            rows = table.take(local).to_pydict()
            texts = rows.get("text", [None] * len(local))
            for position, identity, text in zip(local.tolist(), rows["id"], texts, strict=True):
                found[first + offset + position] = (identity, text)
            offset += len(table)
        first += entry.rows
    return found
