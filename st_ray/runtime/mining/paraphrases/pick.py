"""What the rows of one block pick, from what was found with any of their pairs; and the order of all that is picked."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from st_ray.core.pairs import Pairs, by_row, canonical, concatenated
from st_ray.runtime.meter import MeterClient
from st_ray.runtime.mining.paraphrases.staged import BATCH, heads_of, in_order, pairs_bytes, read_range, read_staged
from st_ray.runtime.pipeline import Row, task_of
from st_ray.store.manifest import ShardEntry
from st_ray.store.output import Part

RANGE_PAIRS = 2_000_000
"""Pairs that are put in order at a time, about."""
_HEAD = "head "


@dataclass(frozen=True)
class Pick:
    """Finds the picks of the rows of one block: a task is its first row, the one after its last, and the files of all
    tasks that compared it with something."""

    top_k: int
    meter: MeterClient

    def __call__(self, row: Row) -> Part:
        """The part: pairs in order. Raises InputError where a file is damaged."""
        first, last, urls = task_of(row)
        pairs = picked_by(first, last, (read_staged(url) for url in urls), self.top_k)
        self.meter.add(rows=last - first)
        self.meter.flush()
        return picked_part(pairs, first)


def picked_part(pairs: Pairs, first: int) -> Part:
    """Pairs in order as a part, whose figures tell where they lie among all: see `ranges`."""
    heads = {f"{_HEAD}{number}": float(key) for number, key in enumerate(heads_of(pairs).tolist())}
    return Part(pairs_bytes(pairs), len(pairs), first, figures=heads)


def picked_by(first: int, last: int, found: Iterable[Pairs], k: int) -> Pairs:
    """The pairs that the rows `first` up to before `last` pick, each up to `k` others, in order.

    Args:
        found: distinct pairs, in any number of parts; those without such a row are passed over.
    """
    row, partner, score = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    for pairs in found:
        for own, other in ((pairs.first, pairs.second), (pairs.second, pairs.first)):
            ours = (own >= first) & (own < last)
            row = np.concatenate([row, own[ours]])
            partner = np.concatenate([partner, other[ours]])
            score = np.concatenate([score, pairs.scores[ours]])
        order = by_row(row, score, partner)
        row, partner, score = row[order], partner[order], score[order]
        rank = np.arange(len(row)) - np.searchsorted(row, np.arange(first, last))[row - first]
        row, partner, score = row[rank < k], partner[rank < k], score[rank < k]
    return in_order(canonical(row, partner, score))


def ranges(entries: Sequence[ShardEntry], max_pairs: int) -> list[tuple[int, int | None]]:
    """Ranges of keys, one behind the other, that hold about `RANGE_PAIRS` picks each.

    Those are left out that lie behind twice `max_pairs` picks: a pair is picked twice at most.
    """
    heads = [np.array([entry.figures[name] for name in sorted(entry.figures, key=_number)]) for entry in entries]
    every = max(1, RANGE_PAIRS // BATCH)
    bounds = np.unique(np.sort(np.concatenate([np.empty(0), *heads]))[every::every])
    cut: list[tuple[int, int | None]] = []
    for low, high in itertools.pairwise([0.0, *bounds.tolist(), None]):
        cut.append((int(low or 0), None if high is None else int(high)))
        if high is not None:
            # The last batch that begins before a bound may end behind it.
            before = sum(max(0, int(np.searchsorted(keys, high)) - 1) for keys in heads)
            if before * BATCH >= 2 * max_pairs:
                break
    return cut


def _number(name: str) -> int:
    return int(name.removeprefix(_HEAD))


@dataclass(frozen=True)
class Order:
    """Puts one range of keys of all picks in order.

    Attributes:
        urls: files of picks.
        min_score: pairs that score less are left out.
    """

    urls: Sequence[str]
    min_score: float | None
    meter: MeterClient

    def __call__(self, row: Row) -> Part:
        """The part: pairs in order, each once. Raises InputError where a file is damaged."""
        low, high = task_of(row)
        pairs = in_order(concatenated([read_range(url, low, high) for url in self.urls]))
        if self.min_score is not None:
            pairs = pairs[pairs.scores.astype(np.float64) >= self.min_score]
        self.meter.add(rows=len(pairs))
        self.meter.flush()
        return Part(pairs_bytes(pairs), len(pairs), 0)
