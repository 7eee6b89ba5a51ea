"""How far two versions of an embedding store are apart: in the texts they have, and for those that both have.

Embeddings of one model and dimension are compared with each other: how far each has moved. Those of two models mean
nothing beside each other; what can be compared is which texts are near to which, in the one store and in the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from st_ray.core.errors import InputError
from st_ray.scoring.similarity import similarity_of
from st_ray.scoring.vectors import StoredVectors
from st_ray.search.movement import Movement, moved, movement_of
from st_ray.search.overlap import Overlap, neighbours, overlap_of
from st_ray.store.embeddings import open_embeddings
from st_ray.store.lineage import lineage_differences
from st_ray.store.switch import Switch, switch_of
from st_ray.store.unchanged import unchanged

_BLOCK_ROWS = 8192
_FURTHEST = 10


@dataclass(frozen=True)
class DriftSettings:
    """How much to look at.

    Attributes:
        sample: texts whose neighbours are compared.
        top_k: neighbours of each.
        corpus_rows: texts among which these are, and whose movement is measured; the sample is part of them.
        seed: of both samples.
        price_per_hour: of one actor; None if unknown.
    """

    sample: int = 1000
    top_k: int = 10
    corpus_rows: int = 100_000
    seed: int = 0
    price_per_hour: float | None = None


@dataclass(frozen=True)
class Drift:
    """What is different in the new store.

    Attributes:
        old_rows: of the old store.
        new_rows: of the new store.
        unchanged: rows of the new store whose text the old one has.
        added: rows of the new store whose text the old one lacks.
        gone: rows of the old store whose text the new one lacks.
        texts: distinct ones that both have.
        differences: of the lineages, a line for each part.
        compared_as: the numbers that the movement is measured on.
        movement: None where it is not defined.
        unmoved: why it is not defined; empty where it is.
        furthest: ids in the new store of the texts that moved most, and their cosines, the least first.
        similarities: by which neighbours were found in the old and in the new store.
        overlap: of neighbours; None where the stores have fewer than two texts in common.
        switch: what it takes to bring the rows of the old store to how the new one was made.
    """

    old_rows: int
    new_rows: int
    unchanged: int
    added: int
    gone: int
    texts: int
    differences: tuple[str, ...]
    compared_as: str
    movement: Movement | None
    unmoved: str
    furthest: tuple[tuple[str, float], ...]
    similarities: tuple[str, str]
    overlap: Overlap | None
    switch: Switch

    def to_json(self) -> dict[str, Any]:
        """For a report: names and plain values."""
        return dataclasses.asdict(self)


def drift(old: str, new: str, settings: DriftSettings, most_rows: int | None = None) -> Drift:
    """Compare the finished embedding stores in the folders `old` and `new`.

    Memory: the digests of some million rows at a time (see `unchanged`), then the sampled embeddings of both stores as
    they are stored. Row groups without a sampled row are not read.

    Args:
        most_rows: of each store, about; of larger ones only some of their parts are looked at, spread evenly, and all
            counts are of these.

    Raises:
        InputError: a store is not finished or damaged, or holds numbers that are not finite.
    """
    stores = before, after = _looked_at(StoredVectors.open(old), StoredVectors.open(new), most_rows)
    found = unchanged((old, before.entries), (new, after.entries), settings.corpus_rows, settings.seed)
    rows = before.take(found.old), after.take(found.new)
    unmoved = _not_comparable(before, after) if found.texts else "the stores have no text in common"
    movement: Movement | None = None
    furthest: tuple[tuple[str, float], ...] = ()
    if not unmoved:
        cosine, difference = moved(_pairs(stores, rows))
        movement, furthest = movement_of(cosine, difference), _furthest(after, found.new, cosine)
    return Drift(
        old_rows=before.rows,
        new_rows=after.rows,
        unchanged=found.rows,
        added=found.added,
        gone=found.gone,
        texts=found.texts,
        differences=tuple(lineage_differences(before.lineage, after.lineage)),
        compared_as=_compared_as(before, after),
        movement=movement,
        unmoved=unmoved,
        furthest=furthest,
        similarities=(_similarity(before), _similarity(after)),
        overlap=_overlap(stores, rows, settings) if found.texts > 1 else None,
        switch=switch_of(open_embeddings(old), open_embeddings(new), settings.price_per_hour),
    )


def _looked_at(old: StoredVectors, new: StoredVectors, most_rows: int | None) -> tuple[StoredVectors, StoredVectors]:
    """The stores, with few enough of their parts: the same of both, since a corpus mostly keeps its order."""
    if most_rows is None or max(old.rows, new.rows) <= most_rows:
        return old, new
    both = min(len(old.entries), len(new.entries))
    largest = max(entry.rows for entry in (*old.entries, *new.entries))
    numbers = np.linspace(0, both - 1, min(both, max(1, most_rows // largest))).round().astype(int).tolist()
    one, other = (replace(store, entries=tuple(store.entries[at] for at in numbers)) for store in (old, new))
    return one, other


def _not_comparable(old: StoredVectors, new: StoredVectors) -> str:
    """Why embeddings of the one mean nothing beside those of the other; empty where they do."""
    if old.lineage.get("model") != new.lineage.get("model"):
        return "the stores are of different models"
    if old.dimension != new.dimension:
        return f"the stores have {old.dimension} and {new.dimension} dimensions"
    return ""


def _compared_as(old: StoredVectors, new: StoredVectors) -> str:
    kinds = sorted({old.precision, new.precision})
    if old.is_binary or new.is_binary:
        return f"the signs of all dimensions, as 1 and -1 (stored: {' and '.join(kinds)})"
    if {"int8", "uint8"} & set(kinds):
        return f"the floats that the stored steps stand for (stored: {' and '.join(kinds)})"
    return f"the stored floats ({' and '.join(kinds)})"


def _floats(store: StoredVectors, rows: np.ndarray, signs: bool) -> np.ndarray:
    """What stored rows are compared as, float32 `[n, dimension]`."""
    floats = store.floats(rows)
    return np.where(floats > 0, np.float32(1), np.float32(-1)) if signs else floats


def _pairs(
    stores: tuple[StoredVectors, StoredVectors], rows: tuple[np.ndarray, np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of the rows of both, as they are compared with each other."""
    (old, new), signs = stores, any(store.is_binary for store in stores)
    for start in range(0, len(rows[0]), _BLOCK_ROWS):
        here = slice(start, start + _BLOCK_ROWS)
        yield _floats(old, rows[0][here], signs), _floats(new, rows[1][here], signs)


def _furthest(store: StoredVectors, positions: np.ndarray, cosine: np.ndarray) -> tuple[tuple[str, float], ...]:
    """Ids and cosines of the rows that moved most, if any did."""
    order = np.argsort(cosine, kind="stable")[:_FURTHEST]
    order = order[cosine[order] < 1]
    ids = store.columns_at(["id"], positions[order])["id"].to_pylist()
    return tuple((str(id), value) for id, value in zip(ids, cosine[order].tolist(), strict=True))


def _similarity(store: StoredVectors) -> str:
    """The model's own, cosine where it names none; bits have their own."""
    return "hamming" if store.is_binary else store.similarity or "cosine"


def _overlap(
    stores: tuple[StoredVectors, StoredVectors], rows: tuple[np.ndarray, np.ndarray], settings: DriftSettings
) -> Overlap:
    corpus = len(rows[0])
    queries, k = min(settings.sample, corpus), min(settings.top_k, corpus - 1)
    found = [_neighbours(store, stored, queries, k) for store, stored in zip(stores, rows, strict=True)]
    return overlap_of(found[0], found[1], corpus)


def _neighbours(store: StoredVectors, rows: np.ndarray, queries: int, k: int) -> np.ndarray:
    # Of rows of 1 and -1, the dot product falls by two with each bit that differs.
    similarity = similarity_of("dot" if store.is_binary else _similarity(store))
    try:
        return neighbours(rows, lambda some: _floats(store, some, store.is_binary), similarity, queries, k)
    except ValueError as error:
        raise InputError(f"{store.folder}: {error}", "encode it again") from error
