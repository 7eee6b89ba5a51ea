"""Rows of a store, made ready to be compared; those without a cosine are refused by id."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from st_ray.core.errors import InputError
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
        InputError: a part is missing or damaged; rows are not finite or of length 0: the first one's id is named.
    """
    floats = np.empty((last - first, store.dimension), np.float32)
    for position, stored in store.blocks(first, last):
        floats[position - first : position - first + len(stored)] = store.floats(stored)
    given = torch.from_numpy(floats).to(device)
    lengths = torch.linalg.vector_norm(given, dim=1)
    _refuse(~lengths.isfinite(), "is not finite", store, first)
    _refuse(lengths == 0, "is all zeros, so it has no cosine", store, first)
    return Rows.prepare(given)


def _refuse(bad: Tensor, what: str, store: StoredVectors, first: int) -> None:
    places = bad.nonzero()[:, 0].tolist()
    if not places:
        return
    row = first + places[0]
    name = store.ids(row, row + 1)[0].as_py()
    raise InputError(
        f"the embedding of {name!r} in {store.folder} {what} (such embeddings among the {len(bad):,} rows from row "
        f"{first:,} on: {len(places):,})",
        "mend or leave out these texts, and encode again",
    )
