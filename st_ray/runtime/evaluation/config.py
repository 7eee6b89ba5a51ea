"""The flags of the job that evaluates cross-encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from st_ray.core.errors import ConfigError
from st_ray.evaluation.class_judges import F1, BinaryAccuracy, SoftmaxAccuracy
from st_ray.evaluation.judge import Judge
from st_ray.evaluation.reranking_judge import Reranking
from st_ray.evaluation.score_judges import BinaryClassification, Correlation
from st_ray.runtime.config import NO_NAMES, DataJobConfig, Names, require_at_least
from st_ray.runtime.cross_encoding.config import CrossEncoderConfig
from st_ray.store.readers.spec import ReadSpec, ValueColumn

SIMILARITIES = ("cosine", "euclidean", "manhattan", "dot")
"""Those that are measured of a bi-encoder's embeddings."""

EvaluatorName = Literal[
    "binary-accuracy", "binary-classification", "correlation", "f1", "softmax-accuracy", "reranking"
]


@dataclass(frozen=True, kw_only=True)
class DataConfig(DataJobConfig):
    """Flags of jobs that measure a model on labelled pairs."""

    data: tuple[str, ...] = ()
    """Files, folders or globs of labelled pairs: Parquet, JSON lines, CSV or TSV."""

    text_columns: Names = NO_NAMES
    """The two columns (a,b) that hold the texts of a pair."""

    label_column: str = "label"
    """Column of the labels."""

    name: str = ""
    """Name of the data, for the CSV file and the report."""

    bootstrap: int = 1000
    """Replicates of the confidence intervals, drawn with --seed; 0: none. Of more than 65,536 pairs, they are drawn
    from a sample of so many."""

    seed: int = 0
    """Of what is drawn at random: replicates, and the sample that fewer bits are compared with float32 on."""

    def check_data_flags(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        super().check_data_flags()
        require_at_least(self, 0, "bootstrap")

    def labelled_spec(self, *label: Any) -> ReadSpec:
        """The columns to read; `label` is the kind of the labels, and of classes how many there are.

        Raises:
            ConfigError: --text-columns does not name two columns.
        """
        if len(self.text_columns) != 2:
            raise ConfigError("--text-columns must name the two columns of a pair", "give two such as question,answer")
        first, second = self.text_columns
        return self.spec_of(first, ValueColumn(second, "text"), ValueColumn(self.label_column, *label))


@dataclass(frozen=True, kw_only=True)
class EvaluateCrossEncoderConfig(DataConfig, CrossEncoderConfig):
    """Measure a cross-encoder on labelled pairs, or on queries with relevant and other documents."""

    evaluator: EvaluatorName
    """What to measure. binary-accuracy: at --threshold; binary-classification: average precision, best accuracy and F1
    over all thresholds; correlation: with gold scores; f1 and softmax-accuracy: of a model with several labels;
    reranking: MRR and nDCG."""

    data: tuple[str, ...] = ()
    """Files, folders or globs of labelled pairs (Parquet, JSON lines, CSV, TSV), or for `reranking` of queries with
    lists of documents (Parquet, JSON lines)."""

    cross_encoder: str | None = None
    """A sequence classification model: a folder as Sentence Transformers or transformers writes it, a hub id, an s3://
    folder, or package:NAME."""

    scores: str | None = None
    """In place of --data and --cross-encoder: the folder `scores` of an earlier evaluation. Nothing is scored again."""

    label_column: str = "label"
    """Column of the labels: 0 or 1, classes from 0 on, or gold scores."""

    query_column: str = "query"
    """Of `reranking`: column of the query."""

    positive_column: str = "positive"
    """Of `reranking`: column of the relevant documents, a list."""

    negative_column: str = "negative"
    """Of `reranking`: column of the other documents, a list."""

    threshold: float = 0.5
    """Of binary-accuracy: scores above it mean 1."""

    at_k: int = 10
    """Of reranking: ranks that MRR and nDCG look at."""

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        require_at_least(self, 1, "at_k")
        self.check_data_flags()
        self.check_cross_encoder_flags()
        if self.scores is not None:
            if self.data or self.cross_encoder:
                raise ConfigError("--scores replaces --data and --cross-encoder", "leave either out")
            return
        if not self.data or self.cross_encoder is None:
            raise ConfigError("--data and --cross-encoder are needed", "give both, or --scores of an earlier run")
        self.pair_spec(None)

    @property
    def judge(self) -> Judge:
        """What does the measuring."""
        makers: Mapping[EvaluatorName, Callable[[], Judge]] = {
            "binary-accuracy": lambda: BinaryAccuracy(self.threshold),
            "binary-classification": BinaryClassification,
            "correlation": Correlation,
            "f1": F1,
            "softmax-accuracy": SoftmaxAccuracy,
            "reranking": lambda: Reranking(self.at_k),
        }
        return makers[self.evaluator]()

    @property
    def of_documents(self) -> bool:
        """Whether a row is a query with documents, not a pair."""
        return self.evaluator == "reranking"

    def pair_spec(self, labels: int | None) -> ReadSpec:
        """The columns to read; `labels` of the model, where they are known, are as many as classes."""
        if self.of_documents:
            lists = (ValueColumn(name, "texts") for name in (self.positive_column, self.negative_column))
            return self.spec_of(self.query_column, *lists)
        kind = self.judge.labels
        return (
            self.labelled_spec("number")
            if kind == "number"
            else self.labelled_spec("class", 2 if kind == "binary" else labels)
        )


@dataclass(frozen=True, kw_only=True)
class EvaluateSimilarityConfig(DataConfig):
    """Measure a bi-encoder on pairs with gold scores: how its similarities correlate with them."""

    model: str
    """Bi-encoder: a folder as Sentence Transformers writes it, a plain transformers folder (mean pooling), a hub id,
    an s3:// folder, or package:NAME for a model inside an installed Python package."""

    label_column: str = "score"
    """Column of the gold scores."""

    truncate_dim: int | None = None
    """Keep the first so many dimensions (Matryoshka models)."""

    min_cosine: float | None = None
    """Every actor measures its embeddings of a sample of the texts by their cosine to those in float32, unless it
    computes in float32; below this it stops before anything is committed. Unset: 0.999; 0.95 with --file-name."""

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        require_at_least(self, 1, "truncate_dim")
        self.check_data_flags()
        self.check_model_flags()
        if not self.data:
            raise ConfigError("--data names no file", "give at least one file, folder or glob")
        self.labelled_spec("number")
