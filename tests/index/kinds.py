"""Small indexes of every kind, and the vectors they hold."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from st_ray.index.build import fill, train
from st_ray.index.files import index_bytes
from st_ray.index.spec import IndexSpec

DIMENSION = 16
ROWS = 400
EXACT = ("Flat", "IVF8,Flat", "IVF8_HNSW4,Flat", "BFlat", "BIVF8")
MERGED_ON_DISK = ("IVF8,Flat", "IVF8,SQ8", "IVF8,SQfp16", "IVF8,PQ4x4", "OPQ4_8,IVF8,PQ4x4", "IVF8_HNSW4,Flat", "BIVF8")
MERGED = (*MERGED_ON_DISK, "Flat", "SQ8", "SQfp16", "PQ4x4", "IVF8,PQ4x4fs", "BFlat")
PARTS_ONLY = ("HNSW8", "HNSW8,SQ8", "BHNSW8", "IVF8,PQ8x4fs,RFlat")
SIMILARITIES = ("cosine", "dot", "euclidean")


def spec_of(factory: str, similarity: str = "cosine") -> IndexSpec:
    binary = factory.startswith("B")
    return IndexSpec(factory, similarity, 8 * DIMENSION if binary else DIMENSION, binary)


@lru_cache
def vectors(binary: bool = False, rows: int = ROWS, seed: int = 0) -> np.ndarray:
    """float32 `[rows, 16]` of all lengths, or uint8 of as many bytes."""
    rng = np.random.default_rng(seed)
    if binary:
        return rng.integers(0, 256, (rows, DIMENSION), np.uint8)
    return (rng.standard_normal((rows, DIMENSION)) * rng.uniform(0.5, 2, (rows, 1))).astype(np.float32)


@lru_cache
def trained(factory: str, similarity: str = "cosine") -> bytes:
    spec = spec_of(factory, similarity)
    return index_bytes(train(spec, vectors(spec.binary)))


def filled(factory: str, similarity: str = "cosine", first: int = 0, last: int = ROWS) -> Any:
    spec = spec_of(factory, similarity)
    return fill(spec, trained(factory, similarity), [(first, vectors(spec.binary)[first:last])])


def parts(factory: str, similarity: str, cuts: Sequence[int]) -> list[Any]:
    """Indexes of what lies between the cuts, some perhaps empty."""
    return [filled(factory, similarity, a, b) for a, b in itertools.pairwise([0, *sorted(cuts), ROWS])]
