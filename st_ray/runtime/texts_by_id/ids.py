"""Ids as columns: several put together, and each one once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def joined_ids(pieces: Sequence[pa.Array]) -> pa.Array:
    """The ids one behind another; as strings unless all are integers."""
    pieces = [piece for piece in pieces if len(piece)] or pieces[:1]
    if len({piece.type for piece in pieces}) != 1:
        pieces = [piece.cast(pa.string()) for piece in pieces]
    return pa.concat_arrays(pieces) if pieces else pa.array([], pa.string())


def distinct_ids(ids: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Each id once, `[m]`, by its first row, and int32 `[n]`, the position of each row's id among them."""
    encoded = ids.dictionary_encode()
    return encoded.dictionary, encoded.indices.to_numpy()
