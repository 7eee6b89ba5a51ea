"""Which share of the pairs an index found, by rows whose true neighbours are searched exactly."""

from __future__ import annotations

import dataclasses

import numpy as np

from st_ray.core.pairs import Pairs
from st_ray.runtime.mining.paraphrases.ask import neighbour_pairs
from st_ray.runtime.mining.paraphrases.config import MineParaphrasesConfig
from st_ray.runtime.mining.paraphrases.staged import in_order
from st_ray.runtime.search.pool import start_pool
from st_ray.runtime.search.target import Target
from st_ray.scoring.topk import PADDING


def true_pairs(config: MineParaphrasesConfig, target: Target) -> tuple[Pairs, int]:
    """The pairs that a sample of rows picks of all rows, in order, and the number of these rows."""
    store = target.store
    count = min(config.recall_rows, store.rows)
    rows = np.sort(np.random.default_rng([config.seed, store.rows]).choice(store.rows, count, replace=False))
    exact = dataclasses.replace(target, index=None)
    plan = exact.plan(config)
    pool = start_pool(*exact.shares(plan, 0, None), plan)
    try:
        asked = store.floats(store.take(rows))
        scores, positions = pool.search(asked, min(config.top_k + 1, store.rows))
    finally:
        pool.stop()
    positions = np.where(positions == rows[:, None], PADDING, positions)
    # A row that is not among its own best has one neighbour too many.
    order = np.argsort(positions == PADDING, axis=1, kind="stable")[:, : config.top_k]
    scores, positions = np.take_along_axis(scores, order, axis=1), np.take_along_axis(positions, order, axis=1)
    pairs = in_order(neighbour_pairs(rows, scores, positions))
    if config.min_score is not None:
        pairs = pairs[pairs.scores.astype(np.float64) >= config.min_score]
    return pairs, count
