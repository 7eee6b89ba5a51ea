"""The communities in their order, cut into parts, and what is told of them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from st_ray.runtime.mining.communities.group import read_note
from st_ray.runtime.pipeline import Row, result_of, task_of
from st_ray.scoring.vectors import StoredVectors
from st_ray.store.communities import communities_table
from st_ray.store.embeddings import parquet_bytes
from st_ray.store.output import Part

PART_ROWS = 200_000
SAMPLED = 12
"""Communities of which some rows are shown."""
_NEAREST, _FARTHEST = 4, 3


def order(notes: Sequence[str], least: int) -> list[Any]:
    """The parts, `part_count` tables, and behind them the facts of `_facts`.

    Memory: 60 bytes for each row that is in a community.

    Args:
        notes: see `read_note`; in their order.
        least: rows of a community.
    """
    read = [read_note(url) for url in notes]
    sizes = np.concatenate([np.empty(0, np.int64), *(size for size, _, _ in read)])
    rows = np.concatenate([np.empty(0, np.int64), *(row for _, row, _ in read)])
    scores = np.concatenate([np.empty(0, np.float32), *(score for _, _, score in read)])
    largest = np.argsort(-sizes, kind="stable")
    begins = (np.cumsum(sizes) - sizes)[largest]
    sizes = sizes[largest]
    ends = np.cumsum(sizes)
    ranks = np.arange(len(rows)) - np.repeat(ends - sizes, sizes)
    places = np.repeat(begins, sizes) + ranks
    columns = {
        "community": np.repeat(np.arange(len(sizes)), sizes),
        "rank": (ranks + 1).astype(np.int32),
        "row": rows[places],
        "score": scores[places],
    }
    cuts = [slice(part * PART_ROWS, (part + 1) * PART_ROWS) for part in range(part_count(len(rows)))]
    # A slice of an Arrow table might travel with the whole of it; a slice of NumPy's arrays does not.
    parts = [pa.table({name: column[cut] for name, column in columns.items()}) for cut in cuts]
    return [*parts, _facts(pa.table(columns), sizes, least)]


def part_count(rows: int) -> int:
    """Parts of `rows` rows; one that is empty where there are none."""
    return max(1, -(-rows // PART_ROWS))


@dataclass(frozen=True)
class WritePart:
    """Writes a part of the result.

    Attributes:
        parts: references to the tables of `order`.
    """

    parts: Sequence[Any]
    store: StoredVectors
    keep_text: bool
    meter: Any

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published; raises what `StoredVectors.columns_at` raises."""
        number = task_of(row)
        members: pa.Table = result_of(self.parts[number])
        found = self.store.columns_at(["id", "text"] if self.keep_text else ["id"], members["row"].to_numpy())
        table = communities_table(members, found)
        self.meter.add(rows=len(table))
        self.meter.flush()
        return Part(parquet_bytes(table), len(table), number * PART_ROWS)


def _facts(table: pa.Table, sizes: np.ndarray, least: int) -> dict[str, Any]:
    """What the summary and the report say, as JSON values.

    Args:
        table: all communities.
        sizes: theirs, falling.
    """
    ends = np.cumsum(sizes)[:SAMPLED].tolist()
    samples = [_sample(table.slice(end - size, size)) for end, size in zip(ends, sizes.tolist(), strict=False)]
    return {
        "communities": len(sizes),
        "largest": int(sizes[0]) if len(sizes) else 0,
        "median": float(np.median(sizes)) if len(sizes) else 0.0,
        "smallest": int(sizes[-1]) if len(sizes) else 0,
        "sizes": _doubling(sizes, least),
        "samples": samples,
    }


def _doubling(sizes: np.ndarray, least: int) -> list[dict[str, int]]:
    """Communities and their rows by size: from `least` on, from twice that on, and so on up to the largest."""
    bins = np.frexp(sizes / least)[1] - 1
    found = []
    for power in range(int(bins.max(initial=-1)) + 1):
        here, start = sizes[bins == power], least * 2**power
        found.append({"from": start, "to": 2 * start - 1, "communities": len(here), "rows": int(here.sum())})
    return found


def _sample(community: pa.Table) -> dict[str, Any]:
    """Some rows near to the centre, which is the first, and the farthest."""
    size = len(community)
    shown = np.unique([*range(min(1 + _NEAREST, size)), *range(max(size - _FARTHEST, 0), size)])
    return {"size": size, "members": community.take(pa.array(shown)).select(["rank", "row", "score"]).to_pylist()}
