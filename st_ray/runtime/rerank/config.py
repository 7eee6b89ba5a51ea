"""The rerank job's flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import CorpusTextConfig, ModelJobConfig, TextConfig, require_at_least
from st_ray.store.hits import HitsFormat


@dataclass(frozen=True, kw_only=True)
class RerankConfig(TextConfig, CorpusTextConfig, ModelJobConfig):
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

    activation: Literal["model", "sigmoid", "identity"] = "model"
    """What makes scores of the model's logits. model: what it names itself, else a sigmoid. identity keeps apart what a
    sigmoid rounds to 1."""

    format: HitsFormat = "parquet"
    """Of the result: Parquet, a TREC run, or JSON lines."""

    prompt_name: str | None = None
    """Name of one of the model's prompts, put before every query. Unset: the model's own choice, most often none."""

    min_correlation: float = 0.99
    """Unless it computes in float32, every actor measures how its scores of a sample of pairs rank beside those in
    float32 (Spearman); below this it stops before anything is committed."""

    shard_pairs: int | None = None
    """Pairs of a shard, about, the unit of work, commit and retry; a shard holds whole queries. Unset: 20,000 on GPUs
    and 1,000 on CPUs, or what the output was begun with."""

    seed: int = 0
    """Of the sample of pairs that --min-correlation is measured on."""

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        if not self.queries:
            raise ConfigError("--queries names nothing", "give files of texts")
        if not self.corpus:
            raise ConfigError("--corpus names nothing", "give files of texts")
        require_at_least(self, 1, "top_k", "shard_pairs")
        self.check_model_flags()
        if self.hits is not None and self.document_column is not None:
            raise ConfigError("--document-column goes without --hits", "leave one of them out")
        if self.keep_retrieval_score and self.hits is None:
            raise ConfigError("--keep-retrieval-score: without --hits there are no such scores", "leave it out")
        if self.keep_retrieval_score and self.format == "trec":
            raise ConfigError("--keep-retrieval-score: a TREC run has one score a line", "use --format parquet")
        if not -1.0 <= self.min_correlation <= 1.0:
            raise ConfigError(f"--min-correlation {self.min_correlation:g} must be between -1 and 1", "0.99 is usual")
