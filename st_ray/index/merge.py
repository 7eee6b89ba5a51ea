"""Filled parts become one index: in memory, or list by list on disk where the whole would not fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from st_ray.core.errors import ConfigError, InputError
from st_ray.index.library import ivf_layer, layers, load_faiss, reason

_PROBES = 8


def merge_in_memory(indexes: Iterable[Any]) -> Any:
    """One index with the vectors and ids of all of `indexes`, in their order.

    The first one is extended and given back, the others may be emptied: memory is the result and one part, if
    `indexes` opens them as it goes. None of them may be memory-mapped.

    Raises:
        ConfigError: a kind that cannot be merged, a graph say.
        InputError: the parts were not filled into copies of the same trained index; the number of the part is named.
        ValueError: there is none.
    """
    merged: Any = None
    for number, index in enumerate(indexes):
        if merged is None:
            merged = index
            continue
        _check_same_training(merged, index, number)
        try:
            _append(merged, index)
        except RuntimeError as error:
            raise ConfigError(
                f"{layers(merged)[-1].__class__.__name__} cannot be merged: {reason(error)}",
                "keep the parts (--merge none), or use an IVF or Flat --factory",
            ) from error
    if merged is None:
        raise ValueError("there is nothing to merge")
    return merged


def _append(merged: Any, index: Any) -> None:
    faiss = load_faiss()
    if not isinstance(merged, faiss.IndexBinaryIDMap):
        merged.merge_from(index, 0)
        return
    # An id map of bits has no merge of its own.
    stored = layers(index)[-1]
    if not isinstance(stored, faiss.IndexBinaryFlat):
        raise RuntimeError("it keeps a graph")
    codes = faiss.vector_to_array(stored.xb).reshape(index.ntotal, index.code_size)
    merged.add_with_ids(codes, faiss.vector_to_array(index.id_map))


def _check_same_training(merged: Any, index: Any, number: int) -> None:
    """faiss compares kinds and sizes only, and would mix the codes of two codebooks."""
    if merged.d != index.d or not np.array_equal(_encoded(merged), _encoded(index)):
        raise InputError(
            f"part {number} was not filled into a copy of the same trained index as part 0",
            "build all parts again in one run",
        )


def _encoded(index: Any) -> np.ndarray:
    """What tells one training from another: the codes of some fixed vectors, or some centroids of bits."""
    faiss = load_faiss()
    codec, ivf = layers(index)[-1], ivf_layer(index)
    if isinstance(index, faiss.IndexBinary):
        chosen = np.linspace(0, ivf.nlist - 1, _PROBES).astype(int) if ivf is not None else ()
        return np.array([ivf.quantizer.reconstruct(int(number)) for number in chosen])
    if isinstance(index, faiss.IndexIDMap):
        codec = layers(index)[1]
    elif ivf is not None:
        codec = index
    probes = np.random.default_rng(0).standard_normal((_PROBES, index.d)).astype(np.float32)
    try:
        return codec.sa_encode(probes)
    except RuntimeError:
        return np.empty(0)  # a kind without a codec; its merge will be refused, or faiss compares what there is
