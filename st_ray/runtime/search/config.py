"""The search job's flags."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import CorpusTextConfig, ModelConfig, ModelJobConfig, TextConfig, require_at_least
from st_ray.store.hits import HitsFormat

_BY_VECTORS = ("similarity", "rescore_multiplier", "nprobe", "ef_search", "model", "keep_gib", "gpus_per_actor")
_BY_WORDS = ("bm25_method", "bm25_k1", "bm25_b", "bm25_stopwords", "bm25_stemmer", "bm25_shard_rows")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(TextConfig, CorpusTextConfig, ModelJobConfig):
    """Find the nearest rows of a corpus for every query: of an embedding store, by an index or exactly without one; or
    of texts, by their words."""

    queries: tuple[str, ...]
    """An embedding store of queries; or their texts: files, folders or globs, as jobs.encode takes them, which are
    encoded first, into OUTPUT/queries, with the model and the settings of the corpus. With --bm25 texts alone."""

    index: str | None = None
    """Output of jobs.build_index. Unset: every row of --embeddings is scored."""

    embeddings: str | None = None
    """The corpus as an embedding store, the output of jobs.encode. With --index: where the store that it was built from
    lies now, if that has moved."""

    bm25: tuple[str, ...] = ()
    """The corpus as texts, in place of an index or embeddings: files, folders or globs, as jobs.encode takes them.
    Words are counted, into OUTPUT/terms, and queries, which are texts then too, find the documents that share a word
    with them. Actors keep the counts in memory: about 8 bytes for each distinct word of each document, half a KiB for
    an abstract, and four times that while they load."""

    bm25_method: Literal["lucene", "robertson", "atire", "bm25l", "bm25+"] = "lucene"
    """Formula, by its name in bm25s."""

    bm25_k1: float = 1.5
    """How much more a word counts that stands in a document often."""

    bm25_b: float = 0.75
    """How much less words count in long documents, from 0 to 1."""

    bm25_stopwords: Literal["english", "none"] = "english"
    """Words that are left out, by the list of bm25s."""

    bm25_stemmer: str = "none"
    """Snowball algorithm that words are cut to their stems by: english, porter, german and so on; needs PyStemmer."""

    bm25_shard_rows: int = 20_000
    """Documents of a shard, the unit of counting, commit and retry. Actors take whole shards. Hits do not depend on
    it."""

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
        if not self.bm25 and self.index is None and self.embeddings is None:
            raise ConfigError("none of --index, --embeddings and --bm25 was given", "name what to search")
        if self.bm25:
            embedding_flags = (*_BY_VECTORS, *(field.name for field in fields(ModelConfig)))
            self._refuse(("index", "embeddings"), "--bm25 names the corpus too", "name one of them")
            self._refuse(embedding_flags, "--bm25 searches by words", "leave it out")
        else:
            word_flags = (*_BY_WORDS, *(field.name for field in fields(CorpusTextConfig)))
            self._refuse(word_flags, "it is for --bm25, which was not given", "leave it out")
        require_at_least(self, 1, "top_k", "shard_rows", "nprobe", "ef_search", "bm25_shard_rows")
        require_at_least(self, 0, "rescore_multiplier")
        if self.bm25_k1 <= 0:
            raise ConfigError(f"--bm25-k1 {self.bm25_k1:g} must be above 0", "1.5 is the default")
        if not 0 <= self.bm25_b <= 1:
            raise ConfigError(f"--bm25-b {self.bm25_b:g} must be between 0 and 1", "0.75 is the default")
        self.check_model_flags()

    def _refuse(self, flags: tuple[str, ...], why: str, remedy: str) -> None:
        """Raise ConfigError for one of the flags that is not what it is by default."""
        defaults = {field.name: field.default for field in fields(self)}
        for flag in flags:
            if getattr(self, flag) != defaults[flag]:
                raise ConfigError(f"--{flag.replace('_', '-')}: {why}", remedy)
