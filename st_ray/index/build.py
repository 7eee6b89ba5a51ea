"""An index is trained once, on a sample, and then filled, part by part, with vectors under their own ids."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from st_ray.core.errors import ConfigError, InputError
from st_ray.index.files import index_from_bytes
from st_ray.index.library import downcast, is_binary, ivf_layer, layers, load_faiss, reason
from st_ray.index.rows import prepare_rows
from st_ray.index.spec import IndexSpec


def train(spec: IndexSpec, sample: np.ndarray, seed: int = 0) -> Any:
    """A trained, empty index.

    The same sample and seed give the same index, as long as the number of threads is the same, and one if the factory
    has a graph over coarse centroids (`IVF65536_HNSW32`), which threads link in any order. Inverted lists are
    clustered on the GPUs where faiss has some; the index itself stays in main memory.

    Args:
        sample: float32 `[n, d]`, or uint8 `[n, columns]` of bits; see `IndexSpec.train_rows`.

    Raises:
        InputError: the sample is too small, has another dimension, holds NaN or infinity, or faiss refuses it.
    """
    sample = prepare_rows(spec, sample, "training vector")
    spec.check_rows(len(sample))
    index = spec.empty()
    if not spec.needs_training:
        return index
    _set_up_clustering(index, seed)
    try:
        with _seeded_rotations(index, seed), _clustering_on_gpus(index):
            index.train(sample)
    except RuntimeError as error:
        raise InputError(
            f"faiss cannot train {spec.factory} on {len(sample)} vectors: {reason(error)}",
            "use more vectors, or another --factory",
        ) from error
    return index


def fill(spec: IndexSpec, trained: bytes, blocks: Iterable[tuple[int | np.ndarray, np.ndarray]]) -> Any:
    """A copy of the empty index `trained` that holds the vectors of `blocks`; of a filled one, with these added.

    Memory beside it: a block. The lists that vectors belong to are found on the GPUs where faiss has some. The same
    vectors give the same bytes, but for graphs that several threads link.

    Args:
        trained: `index_bytes` of what `train` gave.
        blocks: the position of a block's first vector, which with those that follow become the ids, or those of all,
            int64 `[n]`; and float32 `[n, d]` or uint8 `[n, columns]` of bits; a block of no rows is fine.

    Raises:
        ConfigError: faiss cannot fill an index of this kind block by block.
        InputError: vectors of another dimension, or with NaN or infinity; the position is named.
    """
    index = index_from_bytes(trained, "the trained index")
    with _assigning_on_gpus(index):
        for positions, rows in blocks:
            if len(rows):
                ids = np.arange(positions, positions + len(rows)) if isinstance(positions, int) else positions
                _add(spec, index, ids, rows)
    return index


def _add(spec: IndexSpec, index: Any, ids: np.ndarray, rows: np.ndarray) -> None:
    prepared = prepare_rows(spec, rows, "vector", ids)
    try:
        index.add_with_ids(prepared, ids)
    except RuntimeError as error:
        raise ConfigError(
            f"faiss cannot add vectors {ids[0]} to {ids[-1]} to {spec.factory}: {reason(error)}",
            "use another --factory",
        ) from error


def _set_up_clustering(index: Any, seed: int) -> None:
    """The seed of all k-means; training of filters that this package never uses is turned off."""
    for layer in layers(index):
        for part in (layer, downcast(layer.storage) if hasattr(layer, "storage") else layer):
            _set_up(getattr(part, "cp", None), seed)
            _set_up(getattr(getattr(part, "pq", None), "cp", None), seed)
            if hasattr(part, "do_polysemous_training"):
                # On by default, ten times as slow as all the rest, and of use to polysemous filtering only.
                part.do_polysemous_training = False


def _set_up(clustering: Any, seed: int) -> None:
    if clustering is not None:
        clustering.seed = seed & 0x7FFFFFFF
        clustering.min_points_per_centroid = 1  # a line on stderr for each codebook otherwise


@contextlib.contextmanager
def _seeded_rotations(index: Any, seed: int) -> Iterator[None]:
    """The optimised rotations of product quantization train a quantizer of their own: with this seed, and silently."""
    faiss = load_faiss()
    rotations = [
        step
        for layer in layers(index)
        if isinstance(layer, faiss.IndexPreTransform)
        for step in (faiss.downcast_VectorTransform(layer.chain.at(i)) for i in range(layer.chain.size()))
        if isinstance(step, faiss.OPQMatrix)
    ]
    quantizers = [faiss.ProductQuantizer(rotation.d_out, rotation.M, 8) for rotation in rotations]
    for rotation, quantizer in zip(rotations, quantizers, strict=True):
        _set_up(quantizer.cp, seed)
        rotation.pq = quantizer
    try:
        yield
    finally:
        for rotation in rotations:
            rotation.pq = None  # it must not outlive the quantizer


@contextlib.contextmanager
def _clustering_on_gpus(index: Any) -> Iterator[None]:
    faiss = load_faiss()
    ivf = ivf_layer(index)
    if ivf is None or is_binary(index) or not faiss.get_num_gpus():
        yield
        return
    # With a graph over them, centroids are found by distance; lists on their own are, by the index's metric.
    metric = faiss.METRIC_L2 if ivf.quantizer_trains_alone == 2 else ivf.metric_type
    centroids = faiss.index_cpu_to_all_gpus(faiss.IndexFlat(ivf.d, metric))
    ivf.clustering_index = centroids
    try:
        yield
    finally:
        ivf.clustering_index = None


@contextlib.contextmanager
def _assigning_on_gpus(index: Any) -> Iterator[None]:
    """Most of the time of filling goes to comparing vectors with centroids. A graph over these is quick as it is."""
    faiss = load_faiss()
    ivf = ivf_layer(index)
    if ivf is None or is_binary(index) or not faiss.get_num_gpus():
        yield
        return
    centroids, owned = ivf.quantizer, ivf.own_fields
    if not isinstance(faiss.downcast_index(centroids), faiss.IndexFlat):
        yield
        return
    on_gpus = faiss.index_cpu_to_all_gpus(faiss.downcast_index(centroids))
    ivf.own_fields = False
    ivf.quantizer = on_gpus
    try:
        yield
    finally:
        ivf.quantizer = centroids
        ivf.own_fields = owned
