"""Rows whose texts a finished embedding store has already, found by Ray tasks that meet in buckets of text digests.

The digests of either side are spread over buckets, each bucket is joined on its own, and what it finds for a shard or a
part lies in a file until that is made. No task, and not the driver, ever holds more than a bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from st_ray.runtime.pipeline import result_of
from st_ray.runtime.shuffle import grouped_by_rows, spread
from st_ray.store import fs
from st_ray.store.join import Keyed, buckets, joined, keyed
from st_ray.store.manifest import ShardEntry
from st_ray.store.reuse import Matches, OldStore, match, read_keys, write_matches

BUCKET_ROWS = 4_000_000
"""Rows of a bucket, and of the shards or parts that one task reads, about: 24 bytes each."""


@dataclass(frozen=True)
class NewRows:
    """The rows of one shard or part, which may come again.

    Attributes:
        name: of the part that it becomes; its matches are kept under it (see `OldStore.matches_of`).
        rows: how many.
        read: gives the keys of their texts, uint64 `[rows, 2]` (see `join.digest_keys`); it runs in a task.
    """

    name: str
    rows: int
    read: Callable[[], np.ndarray]


def match_rows(old: OldStore, new: Sequence[NewRows]) -> tuple[int, int]:
    """Write the matches of all shards or parts; how many rows come again, and how many old ones do not.

    Raises:
        InputError: a part of the old store is damaged; and what reading the new rows raises.
    """
    if not new:
        return 0, 0
    groups, joins = _meetings(old, new)
    # What one bucket found: its count of rows that are gone, then the matches of each group of shards.
    found = spread(_join, joins, 1 + len(groups))
    keeps = [(old.matches, group, *(pieces[1 + number] for pieces in found)) for number, group in enumerate(groups)]
    kept = spread(_keep, keeps, 1)
    return sum(result_of(count) for (count,) in kept), sum(result_of(pieces[0]) for pieces in found)


def match_rows_soon(old: OldStore, new: Sequence[NewRows]) -> Any:
    """A Ray object that will be what `match_rows` returns, or raise what that raises, once the files are written.

    Few rows are matched by one task, while the caller goes on. It holds no CPU, so that whoever holds one may wait for
    it. Buckets, where there are more rows, have been waited for.
    """
    if sum(entry.rows for entry in old.entries) + sum(each.rows for each in new) > BUCKET_ROWS:
        return ray.put(match_rows(old, new))
    return ray.remote(_match_all).options(num_cpus=0).remote(old, new)


def count_rows(old: OldStore, new: Sequence[NewRows]) -> tuple[int, int]:
    """What `match_rows` would return; nothing is written. Raises what that raises."""
    _, joins = _meetings(old, new)
    counts = [result_of(count) for (count,) in spread(_count, joins, 1)]
    return sum(found for found, _ in counts), sum(gone for _, gone in counts)


def _meetings(old: OldStore, new: Sequence[NewRows]) -> tuple[list[list[tuple[int, str]]], list[tuple[Any, ...]]]:
    """Groups of new shards by number and name; and for each bucket the groups' numbers and its rows of either side."""
    old_groups = grouped_by_rows(list(enumerate(old.entries)), [entry.rows for entry in old.entries], BUCKET_ROWS)
    new_groups = grouped_by_rows(list(enumerate(new)), [each.rows for each in new], BUCKET_ROWS)
    count = max(len(old_groups), len(new_groups))
    old_parts = spread(_old_buckets, [(old.folder, group, count) for group in old_groups], count)
    new_parts = spread(_new_buckets, [(group, count) for group in new_groups], count)
    numbers = [[number for number, _ in group] for group in new_groups]
    joins = [(numbers, *(parts[bucket] for parts in (*new_parts, *old_parts))) for bucket in range(count)]
    return [[(number, each.name) for number, each in group] for group in new_groups], joins


def _match_all(old: OldStore, new: Sequence[NewRows]) -> tuple[int, int]:
    numbered = list(enumerate(new))
    (old_rows,), (new_rows,) = _old_buckets(old.folder, list(enumerate(old.entries)), 1), _new_buckets(numbered, 1)
    gone, matches = _join([[number for number, _ in numbered]], new_rows, old_rows)
    (kept,) = _keep(old.matches, [(number, each.name) for number, each in numbered], matches)
    return kept, gone


def _old_buckets(folder: str, parts: Sequence[tuple[int, ShardEntry]], count: int) -> list[Keyed]:
    return buckets(joined([read_keys(folder, number, entry) for number, entry in parts]), count)


def _new_buckets(group: Sequence[tuple[int, NewRows]], count: int) -> list[Keyed]:
    return buckets(joined([keyed(each.read(), number) for number, each in group]), count)


def _join(groups: Sequence[Sequence[int]], *pieces: Keyed) -> list[Any]:
    new = len(groups)
    matches, gone = match(joined(pieces[:new]), joined(pieces[new:]))
    numbers = matches.new[:, 0]
    chosen = [np.isin(numbers, np.array(group, np.int32)) for group in groups]
    return [gone, *(Matches(matches.new[rows], matches.old[rows]) for rows in chosen)]


def _count(groups: Sequence[Sequence[int]], *pieces: Keyed) -> list[tuple[int, int]]:
    gone, *matches = _join(groups, *pieces)
    return [(sum(len(each.new) for each in matches), gone)]


def _keep(folder: str, names: Sequence[tuple[int, str]], *pieces: Matches) -> list[int]:
    new = np.concatenate([piece.new for piece in pieces])
    old = np.concatenate([piece.old for piece in pieces])
    for number, name in names:
        rows = new[:, 0] == number
        write_matches(fs.join(folder, f"{name}.npy"), Matches(new[rows], old[rows]))
    return [len(new)]
