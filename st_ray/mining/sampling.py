"""Choosing some of each query's candidates: the best ones, or a random sample that depends on the texts alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from st_ray.core.splitmix import splitmix64
from st_ray.mining.candidates import Candidates, places
from st_ray.store.embeddings import text_digests

STRATEGIES = ("top", "random")
"""Names of the ways to choose."""


def top(candidates: Candidates, count: int) -> Candidates:
    """The first `count` of each query."""
    return candidates[candidates.ranks() < count]


def random(
    candidates: Candidates, count: int, seed: int, query_codes: np.ndarray, document_codes: np.ndarray
) -> Candidates:
    """`count` of each query at random without replacement, all of them where there are fewer; their order stays.

    Every pair of texts has a number that a seeded hash gives it; the least numbers win. So a query's sample depends on
    its own text and those of its candidates, not on the other queries, nor on how any of them are cut into blocks.

    Args:
        seed: 0 or more.
        query_codes: uint64 `[m]`, of the query's text of each candidate; see `text_codes`.
        document_codes: uint64 `[m]`, of its document's text.
    """
    numbers = splitmix64(query_codes ^ splitmix64(document_codes ^ splitmix64(np.array([seed], np.uint64))))
    order = np.lexsort((candidates.document, numbers, candidates.query))
    return candidates[np.sort(order[places(candidates.query[order]) < count])]


def text_codes(texts: pa.LargeStringArray, positions: np.ndarray) -> np.ndarray:
    """The first half of the digest of the text at each position, uint64 `[m]`."""
    some, inverse = np.unique(positions, return_inverse=True)
    digests = text_digests(texts.take(pa.array(some)).to_pylist())
    return np.frombuffer(digests.buffers()[1], "<u8", count=2 * len(some))[::2][inverse]
