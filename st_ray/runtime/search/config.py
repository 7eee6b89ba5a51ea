"""The search job's flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import JobConfig, ModelConfig, TextConfig, require_at_least
from st_ray.store.hits import HitsFormat


@dataclass(frozen=True, kw_only=True)
class SearchConfig(TextConfig, ModelConfig, JobConfig):
    """Find the nearest rows of an embedding store for every query: by an index, or exactly without one."""

    queries: tuple[str, ...]
    """An embedding store of queries; or their texts: files, folders or globs, as jobs.encode takes them, which are
    encoded first, into OUTPUT/queries, with the model and the settings of the corpus."""

    index: str | None = None
    """Output of jobs.build_index. Unset: every row of --embeddings is scored."""

    embeddings: str | None = None
    """The corpus as an embedding store, the output of jobs.encode. With --index: where the store that it was built from
    lies now, if that has moved."""

    actors: str = "auto"
    """Actors that share the corpus: N, or MIN:MAX. auto: one a GPU for exact search; else as many as CPUs and memory
    hold, and no more than there is work for. They also encode query texts."""

    top_k: int = 10
    """Hits for each query; fewer where the corpus is smaller."""

    similarity: Literal["cosine", "dot", "euclidean", "manhattan"] | None = None
    """Unset: the index's; without an index, the one that the model names, else cosine. Bits are compared by their
    Hamming distance, negated."""

    rescore_multiplier: int | None = None
    """Take so many times top-k candidates and score them again by their stored embeddings and the queries as floats.
    0: do not. Unset: 2 for stores of bits, else 0. Without an index, rows of int8 and uint8 are all scored so."""

    nprobe: int | None = None
    """Lists of an IVF index that are looked into. Unset: what jobs.build_index found."""

    ef_search: int | None = None
    """Candidates that the search in an HNSW graph keeps. Unset: what jobs.build_index found."""

    format: HitsFormat = "parquet"
    """Of the hits: Parquet, a TREC run, or JSON lines."""

    model: str | None = None
    """Bi-encoder for query texts, as for jobs.encode. Unset: by the name that the corpus was encoded with. It must be
    the very model of the corpus."""

    shard_rows: int = 10_000
    """Queries of a shard, the unit of work, commit and retry."""

    keep_gib: float | None = None
    """Without an index: memory of an actor for rows of the corpus, which are read anew for every shard of queries
    otherwise. Unset: a quarter of the machine's, shared by its actors."""

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        if not self.queries:
            raise ConfigError("--queries names nothing", "give an embedding store, or files of texts")
        if self.index is None and self.embeddings is None:
            raise ConfigError("neither --index nor --embeddings was given", "name what to search")
        require_at_least(self, 1, "top_k", "shard_rows", "nprobe", "ef_search")
        require_at_least(self, 0, "rescore_multiplier")
        self.check_model_flags()
