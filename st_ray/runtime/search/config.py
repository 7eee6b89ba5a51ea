"""The search job's flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import NO_NAMES, JobConfig, Names
from st_ray.store.hits import HitsFormat


@dataclass(frozen=True, kw_only=True)
class SearchConfig(JobConfig):
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

    text_columns: Names = NO_NAMES
    """Column or columns (a,b) of the queries' text; see jobs.encode."""

    id_column: str | None = None
    """Column of the queries' ids; see jobs.encode."""

    columns: Names = NO_NAMES
    """Names (a,b,c) of the columns of CSV/TSV files that have no header line."""

    quotes: bool = True
    """CSV/TSV fields may be quoted, as RFC 4180 has it. --no-quotes takes quotes as they are (MS MARCO's TSV)."""

    prompt: str | None = None
    """Text put before every query."""

    prompt_name: str | None = None
    """Name of one of the model's prompts. Unset: `query`, where the model has it."""

    backend: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the model on query texts; see jobs.encode."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the model on query texts; see jobs.encode."""

    on_bad_row: Literal["fail", "skip"] = "fail"
    """What to do with a query whose text is missing; see jobs.encode."""

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
        for flag, least in (
            ("top_k", 1),
            ("shard_rows", 1),
            ("nprobe", 1),
            ("ef_search", 1),
            ("rescore_multiplier", 0),
        ):
            value = getattr(self, flag)
            if value is not None and value < least:
                name = "--" + flag.replace("_", "-")
                raise ConfigError(f"{name} {value} must be {least} or more", "give such a number, or leave it out")
        if self.prompt is not None and self.prompt_name is not None:
            raise ConfigError("--prompt and --prompt-name were both given", "give one of them")
