"""`--reuse`: which rows of an older store serve again, found by Ray tasks that meet in buckets of text digests.

The digests of either side are spread over buckets, each bucket is joined on its own, and what it finds for a shard lies
in a file beside the output until the shard is made. No task, and not the driver, ever holds more than a bucket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from st_ray.core.errors import InputError
from st_ray.runtime.pipeline import result_of
from st_ray.runtime.shuffle import grouped_by_rows, spread
from st_ray.store import fs
from st_ray.store.embeddings import text_digests
from st_ray.store.join import Keyed, buckets, digest_keys, joined, keyed
from st_ray.store.lineage import lineage_differences
from st_ray.store.manifest import ShardEntry
from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import read_shard
from st_ray.store.readers.spec import ReadSpec
from st_ray.store.reuse import Matches, OldStore, match, read_keys, write_matches

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
    old_groups = grouped_by_rows(list(enumerate(old.entries)), [entry.rows for entry in old.entries], BUCKET_ROWS)
    new_groups = grouped_by_rows(todo, [plan.rows for _, plan in todo], BUCKET_ROWS)
    count = max(len(old_groups), len(new_groups))
    old_parts = spread(_old_buckets, [(old.folder, group, count) for group in old_groups], count)
    new_parts = spread(_new_buckets, [(group, spec, on_bad_row, count) for group in new_groups], count)
    numbers = [[plan.number for _, plan in group] for group in new_groups]
    joins = [(numbers, *(parts[bucket] for parts in (*new_parts, *old_parts))) for bucket in range(count)]
    # What one bucket found: its count of rows that are gone, then the matches of each group of shards.
    found = spread(_join, joins, 1 + len(new_groups))
    keeps = [(old.matches, group, *(pieces[1 + number] for pieces in found)) for number, group in enumerate(new_groups)]
    kept = spread(_keep, keeps, 1)
    return {
        "reused": sum(result_of(count) for (count,) in kept),
        "gone": sum(result_of(pieces[0]) for pieces in found),
    }


def _old_buckets(folder: str, parts: Sequence[tuple[int, ShardEntry]], count: int) -> list[Keyed]:
    return buckets(joined([read_keys(folder, number, entry) for number, entry in parts]), count)


def _new_buckets(shards: Sequence[tuple[str, ShardPlan]], spec: ReadSpec, on_bad_row: Any, count: int) -> list[Keyed]:
    texts = ((plan.number, read_shard(plan, spec, on_bad_row=on_bad_row).texts) for _, plan in shards)
    return buckets(joined([keyed(digest_keys(text_digests(block)), number) for number, block in texts]), count)


def _join(groups: Sequence[Sequence[int]], *pieces: Keyed) -> list[Any]:
    new = len(groups)
    matches, gone = match(joined(pieces[:new]), joined(pieces[new:]))
    numbers = matches.new[:, 0]
    chosen = [np.isin(numbers, np.array(group, np.int32)) for group in groups]
    return [gone, *(Matches(matches.new[rows], matches.old[rows]) for rows in chosen)]


def _keep(folder: str, shards: Sequence[tuple[str, ShardPlan]], *pieces: Matches) -> list[int]:
    new = np.concatenate([piece.new for piece in pieces])
    old = np.concatenate([piece.old for piece in pieces])
    for name, plan in shards:
        rows = new[:, 0] == plan.number
        write_matches(fs.join(folder, f"{name}.npy"), Matches(new[rows], old[rows]))
    return [len(new)]
