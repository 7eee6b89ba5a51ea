"""`--reuse`: which rows of an older store serve again, found by Ray tasks that meet in buckets of text digests.

The digests of either side are spread over buckets, each bucket is joined on its own, and what it finds for a shard lies
in a file beside the output until the shard is made. No task, and not the driver, ever holds more than a bucket.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import ray

from st_ray.core.errors import InputError
from st_ray.runtime.pipeline import result_of
from st_ray.store import fs
from st_ray.store.embeddings import text_digests
from st_ray.store.lineage import lineage_differences
from st_ray.store.manifest import ShardEntry
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import read_shard
from st_ray.store.readers.spec import ReadSpec
from st_ray.store.reuse import (
    Keyed,
    Matches,
    OldStore,
    buckets,
    joined,
    keyed,
    match,
    read_keys,
    write_matches,
)

BUCKET_ROWS = 4_000_000
"""Rows of a bucket, and of the shards or parts that one task reads, about: 24 bytes each."""


def check_same_embeddings(folder: str, old: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise InputError, naming what differs, unless equal texts have equal embeddings in both.

    Args:
        old: the old store's lineage.
        now: model, settings and compute of this run.
    """
    differences = lineage_differences({name: old.get(name) for name in now}, now)
    if differences:
        raise InputError(
            f"--reuse {folder}: its embeddings were made in another way:\n     " + "\n     ".join(differences),
            "repeat its settings, or leave out --reuse to encode all rows",
        )


def find_matches(
    old: OldStore, todo: Sequence[tuple[str, ShardPlan]], spec: ReadSpec, on_bad_row: str
) -> dict[str, int]:
    """Write the matches of the shards `todo`, given by part name; returns counts of `reused` and `gone` rows.

    Raises:
        InputError: a file of the corpus changed or is damaged, or a part of the old store is.
    """
    if not todo:
        return {"reused": 0, "gone": 0}
    old_groups = list(_groups(list(enumerate(old.entries)), [entry.rows for entry in old.entries]))
    new_groups = list(_groups(todo, [plan.rows for _, plan in todo]))
    count = max(len(old_groups), len(new_groups))
    read_old, read_new = (ray.remote(task).options(num_returns=count) for task in (_old_buckets, _new_buckets))
    old_parts = [_listed(read_old.remote(old.folder, group, count), count) for group in old_groups]
    new_parts = [_listed(read_new.remote(group, spec, on_bad_row, count), count) for group in new_groups]
    join = ray.remote(_join).options(num_returns=1 + len(new_groups))
    # What one bucket found: its count of rows that are gone, then the matches of each group of shards.
    found = [
        join.remote(
            [[plan.number for _, plan in group] for group in new_groups],
            len(new_groups),
            *(parts[bucket] for parts in new_parts),
            *(parts[bucket] for parts in old_parts),
        )
        for bucket in range(count)
    ]
    keep = ray.remote(_keep)
    kept = [
        keep.remote(old.matches, group, *(pieces[1 + number] for pieces in found))
        for number, group in enumerate(new_groups)
    ]
    return {"reused": sum(map(result_of, kept)), "gone": sum(result_of(pieces[0]) for pieces in found)}


def _groups(items: Sequence[Any], rows: Sequence[int]) -> Iterator[list[Any]]:
    """Consecutive items of about `BUCKET_ROWS` rows together."""
    group: list[Any] = []
    filled = 0
    for item, count in zip(items, rows, strict=True):
        if group and filled + count > BUCKET_ROWS:
            yield group
            group, filled = [], 0
        group.append(item)
        filled += count
    if group:
        yield group


def _listed(refs: Any, count: int) -> list[Any]:
    return [refs] if count == 1 else list(refs)


def _old_buckets(folder: str, parts: Sequence[tuple[int, ShardEntry]], count: int) -> Any:
    rows = joined([read_keys(folder, number, entry) for number, entry in parts])
    return _returned(buckets(rows, count))


def _new_buckets(shards: Sequence[tuple[str, ShardPlan]], spec: ReadSpec, on_bad_row: Any, count: int) -> Any:
    pieces = [
        keyed(text_digests(read_shard(plan, spec, on_bad_row=on_bad_row).texts), plan.number) for _, plan in shards
    ]
    return _returned(buckets(joined(pieces), count))


def _returned(pieces: list[Keyed]) -> Any:
    return pieces[0] if len(pieces) == 1 else tuple(pieces)


def _join(groups: Sequence[Sequence[int]], new: int, *pieces: Keyed) -> tuple[Any, ...]:
    matches, gone = match(joined(pieces[:new]), joined(pieces[new:]))
    numbers = matches.new[:, 0]
    chosen = [np.isin(numbers, np.array(group, np.int32)) for group in groups]
    return (gone, *(Matches(matches.new[rows], matches.old[rows]) for rows in chosen))


def _keep(folder: str, shards: Sequence[tuple[str, ShardPlan]], *pieces: Matches) -> int:
    new = np.concatenate([piece.new for piece in pieces])
    old = np.concatenate([piece.old for piece in pieces])
    for name, plan in shards:
        rows = new[:, 0] == plan.number
        write_matches(fs.join(folder, f"{name}.npy"), Matches(new[rows], old[rows]))
    return len(new)
