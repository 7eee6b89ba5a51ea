"""What the tasks do: split parts of a set by query into buckets, and fuse a bucket of all sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from st_ray.runtime.fuse.staging import read_bucket, split_bytes
from st_ray.runtime.meter import MeterClient
from st_ray.runtime.pipeline import Row, task_of
from st_ray.search.fusion import ID_COLUMNS, FusedHits, Fusion, concat_hits, fuse_hits, ids_as_strings
from st_ray.store.hit_sets import HitsPart
from st_ray.store.hits import HitsFormat, hits_bytes
from st_ray.store.output import Part


def group_parts(parts: Sequence[HitsPart], rows: int) -> list[tuple[HitsPart, ...]]:
    """Neighbours together, up to about `rows` hits: small parts would make a multitude of small files."""
    groups: list[list[HitsPart]] = []
    room = 0
    for part in parts:
        if not groups or part.rows > room:
            groups.append([])
            room = rows
        groups[-1].append(part)
        room -= part.rows
    return [tuple(group) for group in groups]


@dataclass(frozen=True)
class SplitParts:
    """Splits a group of parts of one set; the part's figures say which ids are strings."""

    buckets: int
    meter: MeterClient

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published. Raises InputError where a part of the hits is damaged."""
        table = concat_hits([part.read() for part in task_of(row)])
        strings = {name: float(pa.types.is_string(table[name].type)) for name in ID_COLUMNS} if len(table) else {}
        data = split_bytes(table, self.buckets)
        _count(self.meter, len(table))
        return Part(data=data, rows=len(table), first_row=0, figures=strings)


@dataclass(frozen=True)
class FuseBucket:
    """Fuses the queries of one bucket.

    Attributes:
        files: of each set, by its name, split; in order.
        strings: columns of ids that are strings in some set, and so in the result.
    """

    files: Mapping[str, Sequence[str]]
    strings: Sequence[str]
    fusion: Fusion
    format: HitsFormat
    meter: MeterClient

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published. Raises InputError for hits that cannot be fused: see `fuse_hits`."""
        bucket = task_of(row)
        sets = {
            name: concat_hits([ids_as_strings(read_bucket(url, bucket), self.strings) for url in urls])
            for name, urls in self.files.items()
        }
        read = sum(len(hits) for hits in sets.values())
        fused = fuse_hits(sets, self.fusion)
        del sets
        data = hits_bytes(fused.table, self.format)
        _count(self.meter, read)
        return Part(data=data, rows=len(fused.table), first_row=0, figures=_figures(fused, read))


def _figures(fused: FusedHits, read: int) -> dict[str, float]:
    """Counts that add up over the buckets; sets count from 1."""
    columns = {"found by": fused.found_by, "missing in": fused.missing, "shared by": fused.shared}
    by_set = {f"{name} {n}": count for name, counts in columns.items() for n, count in enumerate(counts.tolist(), 1)}
    return {"read": read, "queries": fused.queries, **by_set}


def _count(meter: MeterClient, rows: int) -> None:
    meter.add(rows=rows)
    meter.flush()
