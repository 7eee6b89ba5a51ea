"""Rows that have the same key, found bucket by bucket, so that neither side of a join is ever whole in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from st_ray.core.splitmix import GOLDEN_GAMMA, splitmix64

SALT = GOLDEN_GAMMA
"""What makes a second hash out of the same function: splitmix64(x) and splitmix64(x ^ SALT)."""
_WORD = 8


@dataclass(frozen=True)
class Keyed:
    """n rows and what is the same about them where they are to meet.

    Attributes:
        keys: uint64 `[n, 2]`, digests or hashes of 128 bits.
        places: int32 `[n, p]`, where they are: which part (or shard) and which row of it, say.
    """

    keys: np.ndarray
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)


def keyed(keys: np.ndarray, part: int, first_row: int = 0) -> Keyed:
    """Rows `first_row`, … of part number `part`."""
    rows = len(keys)
    places = np.stack([np.full(rows, part, np.int32), np.arange(first_row, first_row + rows, dtype=np.int32)], axis=1)
    return Keyed(keys, places)


def digest_keys(digests: pa.FixedSizeBinaryArray) -> np.ndarray:
    """The keys that 16-byte digests are (see `embeddings.text_digests`), without a copy."""
    rows = len(digests)
    return np.frombuffer(digests.buffers()[1], "<u8", count=2 * rows, offset=16 * digests.offset).reshape(rows, 2)


def id_keys(ids: pa.Array) -> np.ndarray:
    """Keys of ids by their text: the integer 7 and the string "7" have the same.

    Two chains of SplitMix64 over the words of eight bytes, all ids at once: as many steps as the longest id has words.

    Args:
        ids: `[n]` string or int64, without nulls.
    """
    texts = ids.cast(pa.large_string())
    _, offset_buffer, data = texts.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64, count=len(texts) + 1, offset=8 * texts.offset)
    starts, lengths = offsets[:-1] - offsets[0], np.diff(offsets)
    used = np.frombuffer(data or b"", np.uint8, count=int(offsets[-1] - offsets[0]), offset=int(offsets[0]))
    padded = np.concatenate([used, np.zeros(_WORD, np.uint8)])
    words = np.ndarray((len(padded) - _WORD + 1,), "<u8", padded, strides=(1,))
    seeds = lengths.astype(np.uint64)
    keys = np.stack([splitmix64(seeds), splitmix64(seeds ^ SALT)], axis=1)
    longer, at = np.flatnonzero(lengths), 0
    while len(longer):
        rest = lengths[longer] - at
        unused = (_WORD * (_WORD - np.minimum(rest, _WORD))).astype(np.uint64)
        taken = words[starts[longer] + at] << unused
        keys[longer] = splitmix64(keys[longer] ^ taken[:, None])
        at += _WORD
        longer = longer[rest > _WORD]
    return keys


def joined(pieces: Sequence[Keyed], columns: int = 2) -> Keyed:
    """All rows of the pieces, in their order; places have so many `columns`."""
    return Keyed(
        np.concatenate([np.empty((0, 2), np.uint64), *(piece.keys for piece in pieces)]),
        np.concatenate([np.empty((0, columns), np.int32), *(piece.places for piece in pieces)]),
    )


def bucket_rows(keys: np.ndarray, count: int) -> list[np.ndarray]:
    """The rows of each of `count` buckets, in order; equal keys fall into the same one."""
    if count == 1:
        return [np.arange(len(keys))]
    bucket = keys[:, 1] % np.uint64(count)
    order = np.argsort(bucket, kind="stable")
    return np.split(order, np.searchsorted(bucket[order], np.arange(1, count, dtype=np.uint64)))


def buckets(rows: Keyed, count: int) -> list[Keyed]:
    """The rows in `count` buckets (see `bucket_rows`)."""
    return [Keyed(rows.keys[chosen], rows.places[chosen]) for chosen in bucket_rows(rows.keys, count)]


def lookup(keys: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of `keys` `[n, 2]` occur (a mask), and for those the first row of `among` `[m, 2]` that is the same."""
    order = np.argsort(among[:, 0], kind="stable")
    halves = among[order, 0]
    at = np.searchsorted(halves, keys[:, 0])
    rows = np.full(len(keys), -1)
    waiting = np.arange(len(keys))
    # One round, but for keys that share their first half with another one.
    while len(waiting):
        waiting = waiting[at[waiting] < len(order)]
        waiting = waiting[halves[at[waiting]] == keys[waiting, 0]]
        candidates = order[at[waiting]]
        same = among[candidates, 1] == keys[waiting, 1]
        rows[waiting[same]] = candidates[same]
        waiting = waiting[~same]
        at[waiting] += 1
    found = rows >= 0
    return found, rows[found]


def grouped(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows by key: an order `[n]` that puts equal keys together, as they stood, and each run's start and length."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    by_key = keys[order]
    begins = np.concatenate([[True], (by_key[1:] != by_key[:-1]).any(axis=1)])[: len(keys)]
    starts = np.flatnonzero(begins)
    return order, starts, np.diff(np.append(starts, len(keys)))


def run_positions(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`start, start + 1, …`, `count` of them, for each run; int64, one run behind another."""
    ends = np.cumsum(counts)
    return np.repeat(starts - (ends - counts), counts) + np.arange(int(counts.sum()))
