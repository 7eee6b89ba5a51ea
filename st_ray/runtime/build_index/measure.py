"""How well an index finds the true neighbours, and which setting reaches a target: by held-out queries."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from st_ray.index.output import OpenedIndex
from st_ray.index.tune import Curve, parameters_of, tune
from st_ray.runtime.build_index.config import BuildIndexConfig
from st_ray.runtime.search.pool import Searcher, SearchPool, start_pool
from st_ray.runtime.search.target import Target, plan_search
from st_ray.scoring.similarity import similarity_of
from st_ray.scoring.topk import PADDING
from st_ray.scoring.vectors import StoredVectors

HERE_BYTES = 256 << 20
"""Embeddings, as floats, that are searched in this process: actors would take longer to start."""


@dataclass(frozen=True)
class Probes:
    """Queries to measure with.

    Attributes:
        queries: float32 `[q, d]`.
        own: their positions in the corpus, which are not counted as their neighbours; None for queries from elsewhere.
    """

    queries: np.ndarray
    own: np.ndarray | None


def measure(
    config: BuildIndexConfig, index: OpenedIndex, store: StoredVectors, probes: Probes, near: int | None = None
) -> Curve:
    """The curve of recall against latency, and the least setting that reaches the target.

    The truth comes from an exact search of the whole store. Latency is that of a batch of all probes, divided by them.

    Args:
        near: the setting of an index that is nearly the same (see `tune`).
    """
    similarity, k = similarity_of(index.spec.similarity), config.recall_at
    with _searcher(config, Target(store, similarity, {})) as exact:
        truth = _others(exact.search(probes.queries, k + 1)[1], probes.own, k)
    with _searcher(config, Target(store, similarity, {}, index)) as searcher:

        def search(parameter: int | None) -> tuple[np.ndarray, float]:
            begun = time.perf_counter()
            found = searcher.search(probes.queries, k + 1, parameter)[1]
            seconds = time.perf_counter() - begun
            return _others(found, probes.own, k), seconds / len(probes.queries)

        searcher.search(probes.queries[:100], k + 1)  # pages and threads come up
        return tune(search, truth, parameters_of(index.spec, k + 1), config.target_recall, near)


@contextmanager
def _searcher(config: BuildIndexConfig, target: Target) -> Iterator[Searcher]:
    if 4 * target.store.rows * target.store.dimension <= HERE_BYTES:
        yield target.here()
        return
    pool = _pool(config, target)
    try:
        yield pool
    finally:
        pool.stop()


def _pool(config: BuildIndexConfig, target: Target) -> SearchPool:
    # --actors and --cpus-per-actor are those of the workers that fill the parts.
    plan = plan_search(dataclasses.replace(config, actors="auto", cpus_per_actor=None), target)
    return start_pool(*target.shares(plan, 0, None), plan)


def _others(positions: np.ndarray, own: np.ndarray | None, k: int) -> np.ndarray:
    """The first `k` positions of each row that are not the query itself."""
    if own is None:
        return positions[:, :k]
    others = positions != own[:, None]
    # The query itself is missing where an index did not find it: then the last one is too many.
    order = np.argsort(~others, axis=1, kind="stable")
    return np.take_along_axis(np.where(others, positions, PADDING), order, axis=1)[:, :k]
