"""A seeded sample of a corpus: a few short runs of consecutive rows, so that hardly anything else is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from st_ray.store.readers.plan import ShardPlan
from st_ray.store.readers.read import segment_rows
from st_ray.store.readers.spec import ReadSpec

_RUN_ROWS = 8


def sample_texts(shards: Sequence[ShardPlan], spec: ReadSpec, count: int, seed: int) -> list[str]:
    """About `count` texts from all over the corpus; all of them where it has no more; bad rows are left out.

    The same seed and corpus give the same texts. Every row has about the same chance.

    Raises:
        InputError: a file changed since the scan or is damaged.
    """
    total = sum(shard.rows for shard in shards)
    if total <= count:
        return [text for shard in shards for text in _read(shard, spec, 0, shard.rows)]
    firsts = np.array([shard.first_row for shard in shards])
    runs = -(-count // _RUN_ROWS)
    # One place in each of as many equal stretches: spread out, and hardly ever twice the same row.
    stretch = max(1, total - _RUN_ROWS + 1) / runs
    places = (np.arange(runs) + np.random.default_rng(seed).random(runs)) * stretch
    texts: list[str] = []
    for place in places.astype(np.int64).tolist():
        shard = shards[int(np.searchsorted(firsts, place, side="right")) - 1]
        start = place - shard.first_row
        texts += _read(shard, spec, start, min(_RUN_ROWS, shard.rows - start))
    return texts[:count]


def _read(shard: ShardPlan, spec: ReadSpec, start: int, rows: int) -> list[str]:
    """The good ones of rows [start, start + rows) of a shard."""
    texts: list[str] = []
    for segment in shard.segments:
        skip = min(start, segment.rows)
        take = min(rows, segment.rows - skip)
        if take:
            part = dataclasses.replace(segment, start_row=segment.start_row + skip, rows=take)
            for batch in segment_rows(part, spec, shard.id_kind):
                texts += [text for text in batch.texts if text is not None]
        start, rows = start - skip, rows - take
    return texts
