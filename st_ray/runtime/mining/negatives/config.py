"""The flags of the job that mines hard negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from st_ray.core.errors import ConfigError
from st_ray.mining.filters import Filters
from st_ray.mining.formats import Layout, table_names
from st_ray.mining.rules import Rules
from st_ray.runtime.config import NO_NAMES, ComputeConfig, JobConfig, Names, require_at_least
from st_ray.store import fs

MACHINES = ("actors", "gpus_per_actor", "cpus_per_actor", "address", "debug")
"""Flags that say on what a job runs."""
WORK = "work"
"""Folder of the output for what another mining can use again, unless --work names one."""


@dataclass(frozen=True, kw_only=True)
class MineHardNegativesConfig(ComputeConfig, JobConfig):
    """Find hard negatives: documents that are close to the query of a positive pair, but are none of its positives."""

    pairs: tuple[str, ...]
    """Files, folders or globs of pairs of an anchor (a query) and a positive: Parquet, JSON lines, CSV or TSV. Several
    rows of one anchor give it several positives; equal rows count once."""

    model: str
    """Bi-encoder that finds candidates: a folder as Sentence Transformers writes it, a plain transformers folder (mean
    pooling), a hub id, an s3:// folder, or package:NAME for a model inside an installed Python package."""

    anchor_column: str | None = None
    """Column of the anchors. Unset: `anchor`, where there is one, else the first column of texts."""

    positive_column: str | None = None
    """Column of the positives. Unset: `positive`, where there is one, else the first column of texts besides."""

    corpus: tuple[str, ...] = ()
    """Files, folders or globs of documents to find negatives among. Positives that they lack are added. Unset: the
    positives of all anchors."""

    corpus_text_columns: Names = NO_NAMES
    """Column or columns (a,b) of the corpus's text; several are joined by a space. Unset: the only text column, or the
    one called `text`; title and text of a BEIR folder; the line of a plain text file."""

    columns: Names = NO_NAMES
    """Names (a,b,c) of the columns of CSV/TSV files of pairs that have no header line."""

    corpus_columns: Names = NO_NAMES
    """Names (a,b,c) of the columns of the corpus's CSV/TSV files, where they have no header line."""

    quotes: bool = True
    """CSV/TSV fields may be quoted, as RFC 4180 has it. --no-quotes takes quotes as they are (MS MARCO's TSV)."""

    on_bad_row: Literal["fail", "skip"] = "fail"
    """A row whose text is missing, not a string, empty or not readable: fail before any model is loaded, or skip and
    count it. Empty texts of the corpus are always left out and counted."""

    cross_encoder: str | None = None
    """A sequence classification model with one label that scores candidates and positives in place of the bi-encoder: a
    folder as Sentence Transformers or transformers writes it, a hub id, an s3:// folder, or package:NAME."""

    num_negatives: int = 3
    """Negatives for each query."""

    range_min: int = 0
    """Skip so many of a query's candidates, those with the best scores, whether or not a filter would drop them."""

    range_max: int | None = None
    """How many of a query's closest documents are candidates, beside as many as it has positives. Unset: --range-min,
    the most positives of a query, and --num-negatives or, where a margin, --max-score or a cross-encoder may leave
    fewer, ten times that."""

    max_score: float | None = None
    """Drop candidates with a greater score."""

    min_score: float | None = None
    """Drop candidates with a smaller score."""

    absolute_margin: float | None = None
    """Drop candidates whose score is not at least so far below the least score of the query's own positives."""

    relative_margin: float | None = None
    """The same, in parts of the absolute value of that score: 0.05 keeps what scores at most 95% of it."""

    sampling_strategy: Literal["top", "random"] = "top"
    """Of the candidates that are left, those that score best, or a random sample."""

    include_positives: bool = False
    """Let a query's positives be among its negatives, in the order of their scores, as an evaluation of reranking
    wants them. Goes with --output-format n-tuple."""

    output_format: Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"] = "triplet"
    """triplet: anchor, positive, negative; n-tuple: anchor, positive, negative_1, …, for queries that have all their
    negatives; labeled-pair: anchor, text, label 1 or 0; labeled-list: anchor, a list of the positive and its negatives,
    labels."""

    output_scores: bool = False
    """Add the scores, or put them in place of labels."""

    query_prompt: str | None = None
    """Text put before every query, e.g. 'query: '."""

    query_prompt_name: str | None = None
    """Name of one of the model's prompts for queries. Unset: `query`, where it has one."""

    corpus_prompt: str | None = None
    """Text put before every document."""

    corpus_prompt_name: str | None = None
    """Name of one of the model's prompts for documents. Unset: `document`, where it has one."""

    work: str | None = None
    """Folder for texts, embeddings, candidates and their scores. Give it again, and another mining of the same data and
    models, with other thresholds, encodes, searches and scores nothing. Unset: OUTPUT/work, which --overwrite leaves
    in place."""

    overwrite: bool = False
    """Remove the result of an earlier run from --output and make it again of what lies in --work."""

    reuse_corpus: str | None = None
    """A finished embedding store of the same model and settings: documents whose text is in it take their embedding
    from there, as with jobs.encode --reuse."""

    reuse_queries: str | None = None
    """The same for queries."""

    normalize: bool = True
    """Scale embeddings to length 1, as Sentence Transformers does here. --no-normalize fits stores for --reuse-corpus
    that were made without; under cosine, scores differ by rounding at most."""

    truncate_dim: int | None = None
    """Keep the first so many dimensions of embeddings (Matryoshka models)."""

    factory: str | None = None
    """Search by an index, as for jobs.build_index: auto, or a string for faiss.index_factory such as IVF4096,Flat.
    What it finds is scored again by the embeddings. Unset: exact search."""

    target_recall: float = 0.95
    """Of the index: share of the true nearest neighbours that it is to find."""

    cross_encoder_file_name: str | None = None
    """Exported graph of the cross-encoder's folder to run in place of its weights; --file-name is the bi-encoder's."""

    cross_encoder_max_seq_length: int | None = None
    """Cut the cross-encoder's pairs to so many tokens. Unset: its own limit; --max-seq-length is the bi-encoder's."""

    activation: Literal["model", "sigmoid", "identity"] = "model"
    """What makes scores of the cross-encoder's logits. model: what it names itself, else a sigmoid."""

    min_cosine: float | None = None
    """Unless they compute in float32, actors measure embeddings of a sample by their cosine to those in float32; below
    this they stop before anything is committed. Unset: 0.999; 0.95 with --file-name."""

    min_correlation: float | None = None
    """The same for the cross-encoder's scores, by rank correlation (Spearman). Unset: 0.99; 0.95 with
    --cross-encoder-file-name."""

    shard_rows: int = 50_000
    """Texts of a shard, the unit of work, commit and retry; and pairs, about, of a part of the result. The negatives do
    not depend on it."""

    keep_gib: float | None = None
    """Memory of an actor for rows of the corpus while it is searched exactly. Unset: a quarter of the machine's, shared
    by its actors."""

    seed: int = 0
    """Of --sampling-strategy random, which depends on nothing else but the texts; and of other samples."""

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        if not self.pairs:
            raise ConfigError("--pairs names no file", "give at least one file, folder or glob")
        require_at_least(self, 0, "seed", "range_min")
        require_at_least(
            self, 1, "num_negatives", "range_max", "shard_rows", "truncate_dim", "cross_encoder_max_seq_length"
        )
        self.check_compute_flags()
        if self.include_positives and self.output_format != "n-tuple":
            raise ConfigError("--include-positives: the format must be n-tuple", "add --output-format n-tuple")
        for side in ("query", "corpus"):
            if getattr(self, f"{side}_prompt") is not None and getattr(self, f"{side}_prompt_name") is not None:
                raise ConfigError(f"--{side}-prompt and --{side}-prompt-name were both given", "give one of them")
        if not self.corpus and (self.corpus_text_columns or self.corpus_columns):
            raise ConfigError(
                "--corpus-text-columns and --corpus-columns are for --corpus", "name one, or leave them out"
            )
        if self.work is not None and self.work.rstrip("/") == self.output.rstrip("/"):
            raise ConfigError("--work names the output itself", "name a folder of its own, or leave it out")
        if self.anchor_column is not None and self.anchor_column == self.positive_column:
            raise ConfigError(f"--anchor-column and --positive-column are both {self.anchor_column!r}", "name two")
        try:
            self.rules(self.range_max or self.range_min + self.num_negatives)
        except ValueError as error:
            raise ConfigError(_flags_of(str(error)), "change one of these flags") from error

    @property
    def filters(self) -> Filters:
        """What negatives must satisfy."""
        return Filters(self.range_min, self.absolute_margin, self.relative_margin, self.max_score, self.min_score)

    def rules(self, range_max: int) -> Rules:
        """Which candidates become negatives."""
        return Rules(
            self.num_negatives, range_max, self.filters, self.sampling_strategy, self.seed, self.include_positives
        )

    def layout(self, anchor: str, positive: str) -> Layout:
        """The columns of the result.

        Raises:
            ConfigError: two would have the same name.
        """
        layout = Layout(anchor, positive, self.output_scores)
        try:
            table_names(self.output_format, layout, self.num_negatives)
        except ValueError as error:
            raise ConfigError(str(error), "rename it in the files of --pairs") from error
        return layout

    @property
    def work_folder(self) -> str:
        """Where the steps before the result lie."""
        return self.work or fs.join(self.output, WORK)


def _flags_of(message: str) -> str:
    """The message of a `ValueError` of the kernels, with flags for their arguments."""
    for name in ("range_min", "range_max", "num_negatives", "absolute_margin", "relative_margin"):
        message = message.replace(name, "--" + name.replace("_", "-"))
    return message.replace("max_score", "--max-score").replace("min_score", "--min-score")
