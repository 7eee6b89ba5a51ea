"""Duplicate ids across a whole corpus, from 128-bit hashes: exact, but for a chance of about n^2 / 2^129."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from st_ray.core.splitmix import splitmix64
from st_ray.store.join import SALT

# Global row numbers [n] int64 and the hashes [n, 2] uint64 of their ids.
HashedRows = tuple[np.ndarray, np.ndarray]


def hash_ids(ids: Sequence[Any], place: str, first_row: int) -> np.ndarray:
    """Hashes [n, 2] uint64 of ids, all strings or all integers.

    None, the id of a row that is skipped, gets a hash of its place in the file at `place`, which equals no other.
    """
    if not any(value is None for value in ids):
        if ids and type(ids[0]) is int:
            return _hash_integers(np.array(ids, dtype=np.int64))
        return _from_digests([hashlib.blake2b(value.encode(), digest_size=16).digest() for value in ids])
    hashes = np.empty((len(ids), 2), dtype=np.uint64)
    good = np.array([value is not None for value in ids])
    hashes[good] = hash_ids([value for value in ids if value is not None], place, first_row)
    hashes[~good] = _from_digests(
        [
            hashlib.blake2b(f"{place}:{first_row + index}".encode(), digest_size=16, person=b"place").digest()
            for index in np.flatnonzero(~good).tolist()
        ]
    )
    return hashes


def partition_hashes(first_row: int, hashes: np.ndarray, parts: int) -> list[HashedRows]:
    """Split one file's hashes into `parts` buckets; equal ids of any file fall into the same bucket.

    Args:
        first_row: the global row number of the file's first row.
        hashes: [n, 2] uint64, one a row.
        parts: how many buckets; 1 just pairs the hashes with their rows.
    """
    rows = np.arange(first_row, first_row + len(hashes), dtype=np.int64)
    if parts == 1:
        return [(rows, hashes)]
    bucket = hashes[:, 1] % np.uint64(parts)
    order = np.argsort(bucket, kind="stable")
    bounds = np.searchsorted(bucket[order], np.arange(1, parts, dtype=np.uint64))
    return [(rows[part], hashes[part]) for part in np.split(order, bounds)]


def find_duplicates(parts: Sequence[HashedRows], limit: int) -> list[tuple[int, int]]:
    """Pairs (first row, later row) of rows with the same id, by the later row, at most `limit` of them.

    Each later row is paired with the first row that has its id. Memory and time: a sort of the input.

    Args:
        parts: rows and hashes, for instance of one bucket, from every file.
    """
    if not parts:
        return []
    rows = np.concatenate([rows for rows, _ in parts])
    hashes = np.concatenate([hashes for _, hashes in parts])
    # Only rows that share the first half with another are looked at closely.
    order = np.argsort(hashes[:, 0])
    half = hashes[order, 0]
    same = half[1:] == half[:-1]
    shared = np.zeros(len(rows), dtype=bool)
    shared[1:] |= same
    shared[:-1] |= same
    candidates = order[shared]
    candidates = candidates[np.lexsort((rows[candidates], hashes[candidates, 1], hashes[candidates, 0]))]
    if not len(candidates):
        return []
    keys = hashes[candidates]
    begins = np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)])
    first = rows[candidates[np.flatnonzero(begins)]][np.cumsum(begins) - 1]
    pairs = np.stack([first, rows[candidates]], axis=1)[~begins]
    pairs = pairs[np.argsort(pairs[:, 1])][:limit]
    return [(int(one), int(other)) for one, other in pairs]


def _from_digests(digests: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)


def _hash_integers(values: np.ndarray) -> np.ndarray:
    """Two mixes of SplitMix64 of each integer; each is one to one, so that no two integers collide."""
    plain = values.view(np.uint64)
    return np.stack([splitmix64(plain), splitmix64(plain ^ SALT)], axis=1)
