"""Rows of a store, made ready to be compared."""

from __future__ import annotations

import numpy as np
import torch

from st_ray.mining.neighbourhoods import Rows
from st_ray.scoring.vectors import StoredVectors

_BLOCK_BYTES = 512 << 20
_NUMBER_BYTES = 10
"""Of a number of an embedding in a block: as it was given, normalised, and in bfloat16."""
_LEAST_BLOCK = 1024


def block_rows(most: int, dimension: int) -> int:
    """Rows of a block, `most` where memory allows it."""
    return min(most, max(_LEAST_BLOCK, _BLOCK_BYTES // (_NUMBER_BYTES * max(dimension, 1))))


def load_rows(store: StoredVectors, first: int, last: int, device: str) -> Rows:
    """The rows at `first` up to before `last`, as the floats they stand for.

    Raises:
        InputError: a part is missing or damaged.
    """
    floats = np.empty((last - first, store.dimension), np.float32)
    for position, stored in store.blocks(first, last):
        floats[position - first : position - first + len(stored)] = store.floats(stored)
    return Rows.prepare(torch.from_numpy(floats).to(device))
