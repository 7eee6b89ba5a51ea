"""Pairs of rows with their scores, and which of them are among the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pairs:
    """Unordered pairs of different rows, higher scores better.

    Attributes:
        first: int64 `[m]`, the smaller row.
        second: int64 `[m]`.
        scores: float32 `[m]`.
    """

    first: np.ndarray
    second: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, places: np.ndarray | slice) -> Pairs:
        return Pairs(self.first[places], self.second[places], self.scores[places])


@dataclass(frozen=True)
class Picks:
    """What the rows of some pairs pick: each up to k others, by falling score, then smaller row.

    Attributes:
        counts: uint8 `[m]`, by how many of its two rows a pair is picked.
        full: int64 `[r]`, the rows that pick k.
        least: float32 `[r]`, the lowest score that each of these picks.
    """

    counts: np.ndarray
    full: np.ndarray
    least: np.ndarray


def canonical(one: np.ndarray, other: np.ndarray, scores: np.ndarray) -> Pairs:
    """Pairs of the rows `one` and `other`, in either order; those of a row with itself are left out."""
    apart = one != other
    one, other = one[apart].astype(np.int64), other[apart].astype(np.int64)
    return Pairs(np.minimum(one, other), np.maximum(one, other), scores[apart].astype(np.float32))


def concatenated(parts: Sequence[Pairs]) -> Pairs:
    """All pairs of `parts`, none of which is in two of them."""
    if not parts:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    return Pairs(
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.second for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def merged(parts: Sequence[Pairs]) -> Pairs:
    """The pairs of `parts`, each once, by rows; of different scores for one pair, the highest."""
    pairs = concatenated(parts)
    pairs = pairs[np.lexsort((-pairs.scores, pairs.second, pairs.first))]
    fresh = np.ones(len(pairs), bool)
    fresh[1:] = (np.diff(pairs.first) != 0) | (np.diff(pairs.second) != 0)
    return pairs[fresh]


def picks(pairs: Pairs, k: int) -> Picks:
    """The picks of all rows, among distinct `pairs`.

    More pairs only push others out: what is picked from all was picked from any part that holds it. So pairs that are
    picked by neither of their rows may be dropped at any time.
    """
    counts = np.full(len(pairs), 2, np.uint8)
    if not len(pairs):
        return Picks(counts, np.empty(0, np.int64), np.empty(0, np.float32))
    rows = int(pairs.second.max()) + 1
    degrees = np.bincount(pairs.first, minlength=rows) + np.bincount(pairs.second, minlength=rows)
    crowded = degrees >= k  # the others pick all they have
    ones, others = np.flatnonzero(crowded[pairs.first]), np.flatnonzero(crowded[pairs.second])
    place = np.concatenate([ones, others])
    row = np.concatenate([pairs.first[ones], pairs.second[others]])
    partner = np.concatenate([pairs.second[ones], pairs.first[others]])
    order = by_row(row, pairs.scores[place], partner)
    place, row = place[order], row[order]
    full = np.flatnonzero(crowded)
    begins = np.searchsorted(row, full)
    rank = np.arange(len(row)) - np.repeat(begins, degrees[full])
    counts -= np.bincount(place[rank >= k], minlength=len(pairs)).astype(np.uint8)
    return Picks(counts, full, pairs.scores[place[begins + k - 1]])


def by_row(row: np.ndarray, scores: np.ndarray, partner: np.ndarray) -> np.ndarray:
    """The order by row, then falling score, then partner; rows are below 2^32. Sorting one number is fastest."""
    keys = row.astype(np.uint64) << np.uint64(32) | falling(scores)
    order = np.argsort(keys)
    keys = keys[order]
    equal = keys[1:] == keys[:-1]
    tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    order[tied] = order[tied][np.lexsort((partner[order[tied]], keys[tied]))]
    return order


def falling(scores: np.ndarray) -> np.ndarray:
    """Scores float32 as uint32 in the opposite order; equal ones are equal."""
    bits = (scores + np.float32(0)).view(np.uint32)  # 0 in place of -0
    return np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF))


def safe_floor(scores: np.ndarray, counts: np.ndarray, max_pairs: int) -> float:
    """A score that the best `max_pairs` picked pairs of all reach, known from some of them; -inf if it is not known.

    Rows that pick 2 `max_pairs` times with a score of at least this, in any part of the pairs, pick as often in all of
    them (picks only get better), and a pair is picked by two rows at most.
    """
    order = np.argsort(-scores, kind="stable")
    place = int(np.searchsorted(np.cumsum(counts[order], dtype=np.int64), 2 * max_pairs))
    return float(scores[order[place]]) if place < len(order) else -np.inf


def best(pairs: Pairs, max_pairs: int) -> Pairs:
    """The best `max_pairs`, by falling score, then smaller rows."""
    if 0 < max_pairs < len(pairs):
        pairs = pairs[pairs.scores >= np.partition(pairs.scores, len(pairs) - max_pairs)[len(pairs) - max_pairs]]
    return pairs[np.lexsort((pairs.second, pairs.first, -pairs.scores))[:max_pairs]]
