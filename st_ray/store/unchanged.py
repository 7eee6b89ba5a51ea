"""Texts that two versions of an embedding store have in common, by their digests: how many, and a sample of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from st_ray.core.splitmix import splitmix64
from st_ray.store.join import Keyed, joined, lookup
from st_ray.store.manifest import ShardEntry
from st_ray.store.reuse import read_keys

BUCKET_ROWS = 16_000_000
"""Rows of both stores that are compared at once, about: some 100 bytes each. For each more, digests are read again."""

Parts = tuple[str, Sequence[ShardEntry]]
"""The folder of an embedding store, and its parts in order."""


@dataclass(frozen=True)
class Unchanged:
    """What became of the texts of the old store.

    Attributes:
        rows: of the new store whose text the old one has.
        added: rows of the new store whose text the old one lacks.
        gone: rows of the old store whose text the new one lacks.
        texts: distinct ones that both have.
        old: positions in the old store of a sample of those texts, int64 `[n]`, the first of each text.
        new: positions in the new store of the same texts.
    """

    rows: int
    added: int
    gone: int
    texts: int
    old: np.ndarray
    new: np.ndarray


def unchanged(old: Parts, new: Parts, sample: int, seed: int) -> Unchanged:
    """Compare two stores; all rows are counted.

    The sample is uniform over the texts, in an order as good as random, and depends on the seed and the texts alone;
    a smaller one is the beginning of a larger one.

    Raises:
        InputError: a part is missing or damaged, or has no digests; it is named.
    """
    total = sum(entry.rows for _, entries in (old, new) for entry in entries)
    count = max(1, -(-total // BUCKET_ROWS))
    rows = added = gone = texts = 0
    best = _Sample(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64))
    for bucket in range(count):
        before, after = _keys(old, bucket, count), _keys(new, bucket, count)
        found, at = lookup(after.keys, before.keys)
        known, _ = lookup(before.keys, after.keys)
        # Rows of the new store with the same text have found the same row of the old one.
        at, first = np.unique(at, return_index=True)
        rows, added = rows + int(found.sum()), added + int((~found).sum())
        gone, texts = gone + int((~known).sum()), texts + len(at)
        both = _Sample(
            _hashes(before.keys[at], seed),
            _positions(old, before.places[at]),
            _positions(new, after.places[found][first]),
        )
        best = _smallest([best, both], sample)
    return Unchanged(rows, added, gone, texts, best.old, best.new)


@dataclass(frozen=True)
class _Sample:
    """Texts by their hashes, the smallest first: uint64, int64, int64, each `[n]`."""

    hashes: np.ndarray
    old: np.ndarray
    new: np.ndarray


def _smallest(samples: Sequence[_Sample], most: int) -> _Sample:
    """The `most` texts with the smallest hashes of all samples, none of which shares a text with another."""
    hashes, old, new = (np.concatenate([getattr(one, name) for one in samples]) for name in ("hashes", "old", "new"))
    order = np.lexsort((old, hashes))[:most]
    return _Sample(hashes[order], old[order], new[order])


def _hashes(keys: np.ndarray, seed: int) -> np.ndarray:
    return splitmix64(keys[:, 0] ^ splitmix64(np.array([seed], np.uint64)))


def _keys(store: Parts, bucket: int, count: int) -> Keyed:
    """The rows of one of `count` buckets; equal texts fall into the same one."""
    folder, entries = store
    pieces = []
    for part, entry in enumerate(entries):
        keyed = read_keys(folder, part, entry)
        here = keyed.keys[:, 1] % np.uint64(count) == bucket
        pieces.append(Keyed(keyed.keys[here], keyed.places[here]))
    return joined(pieces)


def _positions(store: Parts, places: np.ndarray) -> np.ndarray:
    """Rows counted over all parts, int64 `[n]`, by part and row of it, `[n, 2]`."""
    offsets = np.cumsum([0, *(entry.rows for entry in store[1])], dtype=np.int64)
    return offsets[places[:, 0]] + places[:, 1]
