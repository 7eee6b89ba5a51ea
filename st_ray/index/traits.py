"""What a factory string amounts to: the empty index that it makes, and what can be read off that."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from st_ray.core.errors import ConfigError
from st_ray.index.library import downcast, is_binary, ivf_layer, layers, load_faiss, reason

_ID_BYTES = 8
_LEVEL_AND_OFFSET_BYTES = 12
_OPQ_CENTROIDS = 256
_PLAIN_LISTS = ("IndexIVFFlat", "IndexIVFScalarQuantizer", "IndexIVFPQ", "IndexIVFRaBitQ", "IndexBinaryIVF")
_PLAIN_CODES = ("IndexFlat", "IndexFlatIP", "IndexFlatL2", "IndexScalarQuantizer", "IndexPQ", "IndexBinaryFlat")
_TABLE_LIMIT = 2 << 30  # above it, faiss does without the table


@dataclass(frozen=True)
class Traits:
    """Facts about an index, whatever vectors it will hold.

    Attributes:
        needs_training: before vectors can be added.
        nlist: number of inverted lists; 0 where there are none.
        search_parameter: `nprobe`, `efSearch`, or None where nothing trades time for recall.
        mergeable: whether filled parts can become one index.
        mergeable_on_disk: whether nothing is kept of a vector but its code and its id in an inverted list.
        carries_codes: whether a vector is its code, its id and perhaps its list, which can move to another index of the
            same training.
        centroids: of the largest codebook; at least 1.
        vector_bytes: of the codes of one vector.
        code_bytes: the same with its id and its share of a graph's links.
        fixed_bytes: of coarse centroids and codebooks, and of tables that are made of them.
    """

    needs_training: bool
    nlist: int
    search_parameter: str | None
    mergeable: bool
    mergeable_on_disk: bool
    carries_codes: bool
    centroids: int
    vector_bytes: int
    code_bytes: int
    fixed_bytes: int


@lru_cache(maxsize=64)
def traits_of(factory: str, dimension: int, metric: int, binary: bool) -> Traits:
    """The traits of what `make_empty` makes; raises what it raises."""
    return read_traits(make_empty(factory, dimension, metric, binary))


def read_traits(index: Any) -> Traits:
    """The traits of `index`, empty or not."""
    inner, ivf = layers(index)[-1], ivf_layer(index)
    nlist = int(ivf.nlist) if ivf is not None else 0
    plain_lists = type(ivf).__name__ in _PLAIN_LISTS and not _is_wrapped(index)
    plain_codes = type(inner).__name__ in _PLAIN_CODES and not _refinements(index)
    vector_bytes = sum(_code_size(layer) for layer in (inner, *_refinements(index)))
    return Traits(
        needs_training=not index.is_trained,
        nlist=nlist,
        search_parameter="nprobe" if nlist else "efSearch" if hasattr(inner, "hnsw") else None,
        mergeable=_is_mergeable(index),
        mergeable_on_disk=plain_lists,
        carries_codes=plain_lists or plain_codes,
        centroids=max(1, nlist, *(_codebook_size(layer) for layer in layers(index))),
        vector_bytes=vector_bytes,
        code_bytes=vector_bytes + _link_bytes(inner) + _ID_BYTES,
        fixed_bytes=_fixed_bytes(inner),
    )


def make_empty(factory: str, dimension: int, metric: int, binary: bool) -> Any:
    """A new index that takes explicit ids: inverted lists keep them, anything else is put into an id map.

    Args:
        dimension: in bits if `binary`.
        metric: faiss's number of it.

    Raises:
        ConfigError: faiss does not know `factory`, or not for this dimension and metric.
    """
    faiss = load_faiss()
    try:
        if binary:
            index = faiss.index_binary_factory(dimension, factory)
        else:
            index = faiss.index_factory(dimension, factory, metric)
    except (RuntimeError, MemoryError) as error:
        raise _refused(factory, dimension, binary, reason(error)) from error
    if not _is_usable(layers(index)[-1]):
        raise _refused(factory, dimension, binary, "it needs at least one list, and two links in a graph")
    if _keeps_ids(index):
        return index
    return faiss.IndexBinaryIDMap(index) if binary else faiss.IndexIDMap(index)


def _refused(factory: str, dimension: int, binary: bool, why: str) -> ConfigError:
    kind, examples = ("bits", "BFlat or BIVF1024") if binary else ("dimensions", "Flat, IVF1024,SQfp16 or HNSW32")
    return ConfigError(
        f"--factory {factory!r} makes no index of {dimension} {kind}: {why}",
        f"write it as faiss's index factory does, for instance {examples}, or use --factory auto",
    )


def _is_usable(inner: Any) -> bool:
    """faiss makes indexes of no lists, and graphs of no links, and divides by zero when they are used."""
    if hasattr(inner, "nlist"):
        return inner.nlist > 0 and _is_usable(downcast(inner.quantizer))
    return not hasattr(inner, "hnsw") or inner.hnsw.cum_nneighbor_per_level.size() > 2


def _keeps_ids(index: Any) -> bool:
    faiss = load_faiss()
    if isinstance(index, (faiss.IndexIDMap, faiss.IndexBinaryIDMap)):
        return True
    return ivf_layer(index) is not None and not _is_wrapped(index)


def _is_wrapped(index: Any) -> bool:
    """Whether a layer numbers vectors by the order they came in: an id map, or a refinement to look its own ones up."""
    faiss = load_faiss()
    kinds = (faiss.IndexIDMap, faiss.IndexBinaryIDMap, faiss.IndexRefine)
    return any(isinstance(layer, kinds) for layer in layers(index))


def _is_mergeable(index: Any) -> bool:
    if ivf_layer(index) is not None:
        # faiss would join the lists of wrapped ones without numbering what is in them anew.
        return not _is_wrapped(index)
    if is_binary(index):
        return isinstance(layers(index)[-1], load_faiss().IndexBinaryFlat)
    try:
        index.check_compatible_for_merge(index)
    except RuntimeError:
        return False
    return True


def _codebook_size(layer: Any) -> int:
    """Centroids that a layer trains beside those of inverted lists."""
    faiss = load_faiss()
    if isinstance(layer, faiss.IndexPreTransform):
        chain = [faiss.downcast_VectorTransform(layer.chain.at(i)) for i in range(layer.chain.size())]
        return _OPQ_CENTROIDS if any(isinstance(step, faiss.OPQMatrix) for step in chain) else 0
    quantizer = getattr(_storage(layer), "pq", None)
    return int(quantizer.ksub) if quantizer is not None else 0


def _code_size(layer: Any) -> int:
    return int(getattr(_storage(layer), "code_size", 0))


def _refinements(index: Any) -> list[Any]:
    """What looks at the best hits once more, with longer codes of its own."""
    return [downcast(layer.refine_index) for layer in layers(index) if hasattr(layer, "refine_index")]


def _storage(layer: Any) -> Any:
    """Where a graph keeps its vectors; any other layer is its own storage."""
    storage = getattr(layer, "storage", None)
    return downcast(storage) if storage is not None else layer


def _link_bytes(layer: Any) -> int:
    """A vector's share of the links of a graph: all of the lowest level, and of each level above about one in M."""
    if hasattr(layer, "hnsw"):
        lowest, above = layer.hnsw.nb_neighbors(0), layer.hnsw.nb_neighbors(1)
        return int(4 * lowest + 4 * above / max(1, above - 1) + _LEVEL_AND_OFFSET_BYTES)
    return 4 * int(layer.nsg.R) if hasattr(layer, "nsg") else 0


def _fixed_bytes(inner: Any) -> int:
    total = 0
    nlist = int(getattr(inner, "nlist", 0))
    if nlist:
        centroid = int(inner.d) // 8 if is_binary(inner) else 4 * int(inner.d)
        total += nlist * (centroid + _link_bytes(downcast(inner.quantizer)))
    quantizer = getattr(_storage(inner), "pq", None)
    if quantizer is not None:
        total += 4 * int(quantizer.ksub) * int(quantizer.d)
        table = 4 * nlist * int(quantizer.M) * int(quantizer.ksub)
        if inner.metric_type == load_faiss().METRIC_L2 and table <= _TABLE_LIMIT:
            total += table
    return total
