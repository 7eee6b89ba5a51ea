"""IndexSpec: the recipe of an index, and what follows from it before any vector is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from st_ray.core.errors import ConfigError, InputError
from st_ray.index.library import load_faiss
from st_ray.index.traits import Traits, make_empty, traits_of
from st_ray.scoring.quantization import packed_dimension

_METRICS: Mapping[str, str] = {
    "cosine": "METRIC_INNER_PRODUCT",  # of normalised vectors
    "dot": "METRIC_INNER_PRODUCT",
    "euclidean": "METRIC_L2",
}
_ROWS_PER_CENTROID = 64
_FEWEST_ROWS_PER_CENTROID = 39  # below it, faiss calls clusters poor
_LARGE_SAMPLE = 1 << 22
_STEADY_ROWS = 20_000
"""From so many training rows on, the ranges of a scalar quantizer and the rotation of a transform are steady."""


@dataclass(frozen=True)
class IndexSpec:
    """How an index is built.

    Attributes:
        factory: as faiss's `index_factory` writes it; for bits, as its `index_binary_factory` does (`BFlat`, `BIVF64`).
        similarity: cosine, dot or euclidean. Bits are compared by their Hamming distance, whichever it is.
        dimension: of the embeddings, before bits are packed.
        binary: whether the vectors are bits, eight dimensions to a byte.

    Raises:
        ConfigError: an index knows no such similarity, or faiss cannot make such an index of this dimension.
        ResourceError: faiss is not installed.
    """

    factory: str
    similarity: str
    dimension: int
    binary: bool = False

    def __post_init__(self) -> None:
        if self.similarity not in _METRICS:
            raise ConfigError(
                f"--similarity {self.similarity} cannot be searched with an index",
                f"use one of {', '.join(_METRICS)}, or search exactly, without an index",
            )
        _ = self.traits

    @property
    def traits(self) -> Traits:
        """Facts about an empty index of this recipe."""
        # Looked up, not kept: the spec travels between processes.
        return traits_of(self.factory, self.faiss_dimension, self.metric, self.binary)

    @property
    def metric(self) -> int:
        """faiss's number of the metric; cosine is the inner product of vectors that are normalised on the way in."""
        return int(getattr(load_faiss(), _METRICS[self.similarity]))

    @property
    def columns(self) -> int:
        """Of the arrays that are trained on, added and searched for: `dimension`, or bytes of bits."""
        return packed_dimension(self.dimension, "ubinary") if self.binary else self.dimension

    @property
    def needs_training(self) -> bool:
        """Whether vectors can be added only after `train`."""
        return self.traits.needs_training

    @property
    def nlist(self) -> int:
        """Number of inverted lists; 0 where there are none."""
        return self.traits.nlist

    @property
    def search_parameter(self) -> str | None:
        """What trades time for recall: `nprobe`, `efSearch`, or None where nothing does."""
        return self.traits.search_parameter

    @property
    def mergeable(self) -> bool:
        """Whether filled parts can become one index; a graph cannot."""
        return self.traits.mergeable

    @property
    def mergeable_on_disk(self) -> bool:
        """Whether they can without being held in memory: inverted lists of plain codes."""
        return self.traits.mergeable_on_disk

    @property
    def carries_codes(self) -> bool:
        """Whether the codes of vectors can move to another index of the same training."""
        return self.traits.carries_codes

    @property
    def is_graph(self) -> bool:
        """Whether vectors can be added at any time, but not be taken out."""
        return self.search_parameter == "efSearch"

    @property
    def code_bytes(self) -> int:
        """Bytes that a vector takes in memory, with its id and its links."""
        return self.traits.code_bytes

    @property
    def needs_rescoring(self) -> bool:
        """Whether codes are below a byte a dimension: only rescoring the hits then finds most of the neighbours."""
        return not self.binary and self.traits.vector_bytes < self.dimension

    @property
    def minimum_train_rows(self) -> int:
        """The number of centroids of the largest codebook; 0 where nothing is trained."""
        return self.traits.centroids if self.needs_training else 0

    def empty(self) -> Any:
        """A new index of faiss that takes explicit ids; it still has to be trained if `needs_training`."""
        return make_empty(self.factory, self.faiss_dimension, self.metric, self.binary)

    def train_rows(self, rows: int) -> int:
        """How many of `rows` vectors to train on.

        64 for each centroid, of which clustering makes good use, but no more than four million for that; never fewer
        than 39, below which faiss calls clusters poor.
        """
        if not self.needs_training:
            return 0
        centroids = self.traits.centroids
        wanted = max(_FEWEST_ROWS_PER_CENTROID * centroids, min(_ROWS_PER_CENTROID * centroids, _LARGE_SAMPLE))
        return min(rows, max(wanted, _STEADY_ROWS))

    def check_rows(self, rows: int, where: str = "the training sample") -> None:
        """Refuse vectors that are too few to train on.

        Raises:
            InputError: `where` has `rows` of them, fewer than the centroids to train.
        """
        least = self.minimum_train_rows
        if rows < least:
            raise InputError(
                f"{where} has {rows} vectors; factory {self.factory} needs at least {least} "
                f"to train its {least} centroids",
                "use more vectors, a factory with fewer centroids, or --factory auto",
            )

    def memory_bytes(self, rows: int) -> int:
        """About what an index of `rows` vectors takes in memory."""
        return self.traits.fixed_bytes + rows * self.code_bytes

    @property
    def faiss_dimension(self) -> int:
        """As faiss counts it: in bits, a multiple of eight, if `binary`."""
        return 8 * self.columns if self.binary else self.dimension
