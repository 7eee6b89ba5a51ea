"""What is searched: an embedding store itself, or an index of it; and how actors share it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from st_ray.core.errors import ConfigError
from st_ray.index.output import OpenedIndex, open_index_output
from st_ray.index.spec import IndexSpec
from st_ray.runtime.config import JobConfig
from st_ray.runtime.meter import MeterClient
from st_ray.runtime.resources import ActorPlan, cluster_can_grow, cluster_nodes, plan_actors
from st_ray.runtime.search.config import SearchConfig
from st_ray.runtime.search.pool import Searcher, Share, consecutive
from st_ray.scoring.similarity import Similarity, similarity_of
from st_ray.scoring.vectors import StoredVectors
from st_ray.search.exact import ExactSearcher
from st_ray.search.indexed import IndexSearcher
from st_ray.search.rescoring import Rescorer

ACTOR_BYTES = 1 << 30
"""Of an actor without what it holds: its libraries, and scores of a tile of queries and rows."""
_LEAST_ROWS = 25_000
"""Rows that are worth an actor of their own."""
_MANY = 1 << 20


@dataclass(frozen=True)
class Exact:
    """A range of rows of a store, searched exactly; what an actor makes its searcher with."""

    store: StoredVectors
    first: int
    last: int
    similarity: Similarity
    keep_bytes: int
    device: str

    def __call__(self, count: Callable[[float], None]) -> Searcher:
        """The searcher; `count` is told of done work."""
        return ExactSearcher(
            self.store,
            self.first,
            self.last,
            self.similarity,
            keep_bytes=self.keep_bytes,
            device=self.device,
            on_rows=lambda rows: count(rows / max(self.store.rows, 1)),
        )


@dataclass(frozen=True)
class Indexed:
    """Some parts of an index; what an actor makes its searcher with."""

    spec: IndexSpec
    files: tuple[tuple[str, int], ...]
    parameter: int | None
    share: float
    mapped: bool = False

    def __call__(self, count: Callable[[float], None]) -> Searcher:
        """The searcher; `count` is told of done work."""
        return IndexSearcher(self.spec, self.files, self.parameter, lambda done: count(done * self.share), self.mapped)


@dataclass(frozen=True)
class Target:
    """What is searched, by vectors; see `SearchTarget`.

    Attributes:
        store: the corpus; of an index, what it was built from.
        lineage: what identifies it.
        index: None to score every row.
    """

    store: StoredVectors
    similarity: Similarity
    lineage: dict[str, Any]
    index: OpenedIndex | None = None

    @property
    def units(self) -> int:
        """Into how many shares it can be cut."""
        if self.index is None:
            return max(1, self.store.rows // _LEAST_ROWS)
        return len(self.index.entries) if self.index.merged is None else _MANY

    def plan(self, config: JobConfig) -> ActorPlan:
        """See `plan_search`."""
        return plan_search(config, self)

    def actor_bytes(self) -> int:
        """Memory of an actor, about."""
        if self.index is None or self.index.mapped:
            return ACTOR_BYTES
        return ACTOR_BYTES + self.index.bytes // (1 if self.index.merged else len(self.index.entries))

    def here(self) -> Searcher:
        """Searches all of it in this process."""
        return self._makers(1, [0, self.store.rows], 0, "cpu")[0](lambda done: None)

    def shares(
        self, plan: ActorPlan, keep_bytes: int, meter: MeterClient | None
    ) -> tuple[list[Share], list[list[int]]]:
        """What each actor of the plan holds, and which of them hold the same."""
        count = min(plan.maximum, self.units)
        bounds = np.linspace(0, self.store.rows, count + 1).astype(np.int64).tolist()
        makers = self._makers(count, bounds, keep_bytes, "cuda" if plan.gpus else "cpu")
        shares = [
            Share(
                make,
                self.store,
                first,
                last,
                rescorer=functools.partial(Rescorer, self.store, first, last, self.similarity),
                threads=plan.threads,
                meter=meter,
            )
            for make, first, last in zip(makers, bounds[:-1], bounds[1:], strict=True)
        ]
        copies = self.index is not None and self.index.merged is not None
        return shares, [list(range(count))] if copies else [[number] for number in range(count)]

    def _makers(self, count: int, bounds: list[int], keep_bytes: int, device: str) -> list[Exact | Indexed]:
        if self.index is None:
            return [
                Exact(self.store, first, last, self.similarity, keep_bytes, device)
                for first, last in itertools.pairwise(bounds)
            ]
        index = self.index
        if index.merged is not None:
            whole = ((index.merged, self.store.rows),)
            return [Indexed(index.spec, whole, index.parameter, 1.0, index.mapped) for _ in range(count)]
        files = [(index.part_url(entry), entry.rows) for entry in index.entries]
        cuts = consecutive([rows for _, rows in files], count)
        return [
            Indexed(
                index.spec,
                tuple(files[low:high]),
                index.parameter,
                sum(rows for _, rows in files[low:high]) / self.store.rows,
            )
            for low, high in itertools.pairwise(cuts)
        ]


def open_target(config: SearchConfig) -> Target:
    """Open what the flags name, by manifests alone.

    Raises:
        ConfigError: flags that do not fit what they name.
        InputError: it is missing, unfinished, or an index whose embeddings have changed since.
    """
    if config.index is None:
        store = StoredVectors.open(str(config.embeddings))
        for flag in ("nprobe", "ef_search"):
            if getattr(config, flag) is not None:
                raise ConfigError(
                    f"--{flag.replace('_', '-')} is for indexes, and --index was not given", "leave it out"
                )
        if store.is_binary and config.similarity is not None:
            raise ConfigError(f"--similarity {config.similarity}: {store.folder} holds bits", "leave it out")
        if config.rescore_multiplier and store.precision in ("float32", "float16"):
            raise ConfigError("--rescore-multiplier: without an index, scores are exact already", "leave it out")
        similarity = similarity_of(config.similarity or store.similarity or "cosine")
        return Target(store, similarity, {"embeddings": store.digest})
    index = open_index_output(config.index)
    if config.similarity is not None and config.similarity != index.spec.similarity:
        raise ConfigError(
            f"--similarity {config.similarity}: {config.index} was built for {index.spec.similarity}",
            "leave it out, or build another index",
        )
    store = index.open_embeddings(config.embeddings)
    index = index.with_parameter(nprobe=config.nprobe, ef_search=config.ef_search)
    lineage = {"index": index.digest, "parameter": index.parameter}
    return Target(store, similarity_of(index.spec.similarity), lineage, index)


def plan_search(config: JobConfig, target: Target) -> ActorPlan:
    """The pool that the flags ask for on the running cluster; an index is searched on CPUs."""
    return plan_actors(
        cluster_nodes(),
        shards=target.units,
        actor_bytes=target.actor_bytes(),
        actors=config.actors,
        gpus_per_actor=0.0 if target.index is not None else config.gpus_per_actor,
        cpus_per_actor=config.cpus_per_actor,
        can_grow=cluster_can_grow(),
    )
