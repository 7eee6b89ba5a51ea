"""The parts of an index: a trained one, copied and filled with a range of rows."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from st_ray.core.errors import ResourceError
from st_ray.index.build import fill
from st_ray.index.files import index_bytes
from st_ray.index.spec import IndexSpec
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.meter import MeterClient
from st_ray.runtime.pipeline import Row, task_of
from st_ray.runtime.resources import Node, parse_actors
from st_ray.scoring.vectors import StoredVectors
from st_ray.store import fs
from st_ray.store.output import Part

_PART_BYTES = 512 << 20
_MOST_ROWS = 1_000_000
_LEAST_ROWS = 50_000
_WISHED_PARTS = 8


def cut_parts(rows: int, spec: IndexSpec, part_rows: int | None) -> list[tuple[int, int]]:
    """First row and the row after the last of each part.

    Unless told otherwise: about eight parts, so that several workers fill them; fewer and larger ones of what cannot be
    merged, since each is then searched by itself; and never more rows than fit well into memory.
    """
    if part_rows is None:
        most = max(1, min(_MOST_ROWS, _PART_BYTES // max(1, spec.code_bytes)))
        part_rows = min(most, max(_LEAST_ROWS, -(-rows // _WISHED_PARTS))) if spec.mergeable else most
    return [(first, min(first + part_rows, rows)) for first in range(0, rows, part_rows)]


@dataclass(frozen=True)
class Workers:
    """So many at once, with so many CPUs and GPUs each."""

    count: int
    cpus: float
    gpus: float = 0.0


def fill_workers(
    config: BuildIndexConfig, nodes: Sequence[Node], parts: Sequence[tuple[int, int]], spec: IndexSpec
) -> Workers:
    """As many as the CPUs and the memory of the machines hold; nothing else runs meanwhile, so they may have it all.

    Raises:
        ResourceError: no machine has so many CPUs.
    """
    working = [node for node in nodes if node.cpus]
    smallest = min(node.cpus for node in working)
    most = max(last - first for first, last in parts)
    # The codes, the same as a file's bytes, and a block of rows on its way.
    size = (1 << 29) + 2 * spec.memory_bytes(most)
    by_memory = sum(int(node.memory // size) for node in working) or 1
    cpus = config.cpus_per_actor or max(min(1.0, smallest), float(int(smallest / min(len(parts), smallest, by_memory))))
    if cpus > max(node.cpus for node in working):
        raise ResourceError(
            f"--cpus-per-actor {cpus:g} was asked for, but no machine has so many CPUs", "lower it, or leave it out"
        )
    bounds = parse_actors(config.actors)
    room = max(1, min(sum(int(node.cpus / cpus + 1e-9) for node in working), by_memory))
    count = min(len(parts), bounds[1] if bounds else room)
    gpus = sum(node.gpus for node in working)
    if config.gpus_per_actor is not None or not gpus or not spec.nlist:
        return Workers(count, cpus, config.gpus_per_actor or 0.0)
    # They only find lists, so that several workers can share one.
    return Workers(count, cpus, min(1.0, math.floor(100 * gpus / count) / 100))


@dataclass(frozen=True, kw_only=True)
class FillPart:
    """Fills one part.

    Attributes:
        trained: where the empty, trained index lies.
        training: names what lies there; another one may take its place.
        threads: compute threads.
    """

    store: StoredVectors
    spec: IndexSpec
    trained: str
    training: str
    threads: int
    meter: MeterClient | None = None

    def __call__(self, row: Row) -> Part:
        """The part, ready to be published.

        Raises:
            InputError: a part of the store is missing or damaged, or holds numbers that are not finite.
        """
        import faiss

        faiss.omp_set_num_threads(self.threads)
        first, last = task_of(row)
        index = self.filled(row["name"], first, last)
        if self.meter is not None:
            self.meter.flush()
        return Part(data=index_bytes(index), rows=int(index.ntotal), first_row=first)

    def filled(self, name: str, first: int, last: int) -> Any:
        """The index with the rows from `first` up to before `last`, which part `name` will be."""
        return fill(self.spec, self.empty(), self.blocks(first, last))

    def empty(self) -> bytes:
        """The trained index."""
        return _trained(self.trained, self.training)

    def blocks(self, first: int, last: int) -> Iterator[tuple[int, np.ndarray]]:
        """For `fill`: the rows from `first` up to before `last`."""
        for position, stored in self.store.blocks(first, last):
            yield position, self.prepared(stored)

    def prepared(self, stored: np.ndarray) -> np.ndarray:
        """Rows of the store as an index takes them; they are counted as done."""
        self.count(len(stored))
        return stored if self.store.is_binary else self.store.floats(stored)

    def count(self, rows: int) -> None:
        """Tell the meter of rows."""
        if self.meter is not None:
            self.meter.add(rows=rows)


@functools.lru_cache(maxsize=1)
def _trained(url: str, training: str) -> bytes:
    # A worker fills many parts; the centroids of a large index are some hundred megabytes.
    return fs.read_bytes(url)
