"""The rerank job's flags."""

from __future__ import annotations

from dataclasses import dataclass

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import CorpusTextConfig, TextConfig, require_at_least
from st_ray.runtime.cross_encoding.config import CrossEncoderConfig
from st_ray.store.hits import HitsFormat


@dataclass(frozen=True, kw_only=True)
class RerankConfig(TextConfig, CorpusTextConfig, CrossEncoderConfig):
    """Score the hits of a search again, each pair of query and document by a cross-encoder."""

    hits: str | None = None
    """Hits to score again: a folder that a job wrote, or one file by any tool (a TREC run, Parquet, JSON lines), which
    one worker reads whole. Unset: in-document search, every row of the corpus for every query."""

    queries: tuple[str, ...]
    """Texts of the queries: files, folders or globs, as jobs.encode takes them, with the ids that the hits have."""

    corpus: tuple[str, ...]
    """Texts of the documents, likewise."""

    cross_encoder: str
    """A sequence classification model with one label: a folder as Sentence Transformers or transformers writes it, a
    hub id, an s3:// folder, or package:NAME."""

    top_k: int | None = None
    """Keep so many hits of each query. Unset: all that there are."""

    keep_retrieval_score: bool = False
    """Keep the score that the hits came with, as the column retrieval_score."""

    document_column: str | None = None
    """Without --hits: a column of both queries and corpus that says which document a row belongs to; a query is scored
    with the rows (paragraphs) of its own document alone."""

    format: HitsFormat = "parquet"
    """Of the result: Parquet, a TREC run, or JSON lines."""

    shard_pairs: int | None = None
    """Pairs of a shard, about, the unit of work, commit and retry; a shard holds whole queries. Unset: 20,000 on GPUs
    and 1,000 on CPUs, or what the output was begun with."""

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        if not self.queries:
            raise ConfigError("--queries names nothing", "give files of texts")
        if not self.corpus:
            raise ConfigError("--corpus names nothing", "give files of texts")
        require_at_least(self, 1, "top_k", "shard_pairs")
        self.check_cross_encoder_flags()
        if self.hits is not None and self.document_column is not None:
            raise ConfigError("--document-column goes without --hits", "leave one of them out")
        if self.keep_retrieval_score and self.hits is None:
            raise ConfigError("--keep-retrieval-score: without --hits there are no such scores", "leave it out")
        if self.keep_retrieval_score and self.format == "trec":
            raise ConfigError("--keep-retrieval-score: a TREC run has one score a line", "use --format parquet")
